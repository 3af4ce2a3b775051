"""Say when pixels were compressed lossily: their values are not those that the scanner measured."""

from __future__ import annotations

from collections.abc import Sequence

import pydicom

from medsam_planner.io.study_files import DicomFile, file_meta, header_text, name_files

__all__ = ["lossy_notes"]

_LOSSY = {
    "1.2.840.10008.1.2.4.50": "JPEG baseline",
    "1.2.840.10008.1.2.4.51": "JPEG extended",
    "1.2.840.10008.1.2.4.81": "JPEG-LS near-lossless",
}
"""Transfer syntaxes that are always lossy; of JPEG 2000 and HTJ2K the header has to say it."""


def lossy_notes(files: Sequence[DicomFile]) -> tuple[str, ...]:
    """A note where files state lossy compression, now or before, or are encoded in a lossy way."""
    lossy = [file for file in files if _is_lossy(file.header)]
    if not lossy:
        return ()
    first = lossy[0].header
    method = _LOSSY.get(_syntax(first)) or header_text(first, "LossyImageCompressionMethod", join=", ") or "no method"
    ratio = header_text(first, "LossyImageCompressionRatio", join=", ")
    told = f"{method}, ratio {ratio}" if ratio else f"{method}, ratio not stated"
    return (
        f"The pixels of {len(lossy)} of {len(files)} files were compressed lossily ({told}), such as "
        f"{name_files((one.name for one in lossy), most=1)}: values may be off by tens of HU, most at edges. Use the "
        "original where there is one.",
    )


def _is_lossy(header: pydicom.Dataset) -> bool:
    return _syntax(header) in _LOSSY or header_text(header, "LossyImageCompression") == "01"


def _syntax(header: pydicom.Dataset) -> str:
    return str(file_meta(header).get("TransferSyntaxUID") or "")
