"""The objects of the DICOM conformance statement, generated from what the writers use.

``python -m medsam_planner.network.conformance docs/conformance.md`` writes the page; a test compares it with the
objects that the writers make, both ways.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pydicom.pixels import get_decoder
from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    Comprehensive3DSRStorage,
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    EncapsulatedSTLStorage,
    ExplicitVRLittleEndian,
    ParametricMapStorage,
    RLELossless,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from medsam_planner.io import itk_jpeg
from medsam_planner.io.objects.concepts import PRIVATE, SCHEME
from medsam_planner.io.objects.identity import SeriesNumber
from medsam_planner.io.objects.parametric_map import MAP_QUANTITIES
from medsam_planner.io.objects.segmentation import LABEL_MAP_STORAGE, SegmentEncoding
from medsam_planner.io.objects.structure_codes import CODES_VARIABLE

__all__ = ["WRITTEN", "WrittenObject", "conformance_statement", "markdown_table"]


@dataclass(frozen=True, slots=True)
class WrittenObject:
    """One kind of object that the program writes."""

    files: str
    name: str
    sop_class_uid: UID
    transfer_syntax_uid: UID
    modality: str
    series: str
    """Series numbers."""


_MODALITY_OF_IMAGES = "that of the images"

WRITTEN = (
    WrittenObject(
        "`seg.dcm`, `plan_seg.dcm`",
        "Label Map Segmentation Storage",
        LABEL_MAP_STORAGE,
        SegmentEncoding.LABELMAP.transfer_syntax_uid,
        "SEG",
        f"{SeriesNumber.SEGMENTATION:d}, {SeriesNumber.TOOL:d}",
    ),
    WrittenObject(
        "`seg.dcm` where structures overlap, or on request",
        "Segmentation Storage (BINARY)",
        SegmentationStorage,
        SegmentEncoding.BINARY.transfer_syntax_uid,
        "SEG",
        f"{SeriesNumber.SEGMENTATION:d}",
    ),
    WrittenObject(
        "`MAP_STRUCTURE.dcm`",
        "Parametric Map Storage (32-bit floats)",
        ParametricMapStorage,
        DeflatedExplicitVRLittleEndian,
        _MODALITY_OF_IMAGES,
        f"{SeriesNumber.MAPS + 0:d} and on",
    ),
    WrittenObject(
        "`mesh_STRUCTURE.stl.dcm`",
        "Encapsulated STL Storage",
        EncapsulatedSTLStorage,
        ExplicitVRLittleEndian,
        "M3D",
        f"{SeriesNumber.MESHES:d} and on",
    ),
    WrittenObject(
        "`rtstruct.dcm`, on request",
        "RT Structure Set Storage",
        RTStructureSetStorage,
        ExplicitVRLittleEndian,
        "RTSTRUCT",
        f"{SeriesNumber.CONTOURS:d}",
    ),
    WrittenObject(
        "`plan.dcm`",
        "Comprehensive 3D SR Storage (TID 1500)",
        Comprehensive3DSRStorage,
        ExplicitVRLittleEndian,
        "SR",
        f"{SeriesNumber.PLAN:d}",
    ),
    WrittenObject(
        "`report.pdf.dcm`",
        "Encapsulated PDF Storage",
        EncapsulatedPDFStorage,
        ExplicitVRLittleEndian,
        "DOC",
        f"{SeriesNumber.REPORT:d}",
    ),
    WrittenObject(
        "`key_image.dcm`",
        "Secondary Capture Image Storage",
        SecondaryCaptureImageStorage,
        RLELossless,
        "OT",
        f"{SeriesNumber.KEY_IMAGE:d}",
    ),
)


def conformance_statement() -> str:
    """The statement as Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# DICOM conformance"
    yield ""
    yield (
        "Research use only. This page is generated: `python -m medsam_planner.network.conformance "
        "docs/conformance.md`. A test writes every object and compares."
    )
    yield ""
    yield "## Objects written"
    yield ""
    yield from markdown_table(
        ("file", "object", "SOP class", "transfer syntax", "modality", "series number"),
        [
            (
                one.files,
                one.name,
                str(one.sop_class_uid),
                f"{UID(one.transfer_syntax_uid).name} ({one.transfer_syntax_uid})",
                one.modality,
                one.series,
            )
            for one in WRITTEN
        ],
    )
    yield ""
    yield (
        "Objects are written where a study was read from DICOM files with UIDs of their own. Patient, study and frame "
        "of reference are those of the images; values that DICOM does not allow are left out. Each series description "
        "ends with the notice of research use. UIDs are under 2.25 and follow from content and time; the tracking UID "
        "of a segment follows from the study and the structure's name alone. The character set is UTF-8 (ISO_IR 192)."
    )
    yield ""
    yield (
        "A map cannot be compressed by frames, because float pixels cannot be encapsulated (PS3.5 A.4). A peer that "
        "does not accept the deflated syntax takes the same dataset inflated."
    )
    yield ""
    yield "## Objects read"
    yield ""
    yield (
        "Single-frame and enhanced multi-frame greyscale images that form one regular volume; others are refused by "
        "name. Transfer syntaxes:"
    )
    yield ""
    yield from markdown_table(("transfer syntax", "UID"), [(UID(uid).name, str(uid)) for uid in _readable()])
    yield ""
    yield "## Quantities of maps"
    yield ""
    yield from markdown_table(
        ("map", "quantity", "code", "unit"),
        [
            (
                f"`{name}`",
                what.words,
                f"{what.concept.scheme_designator} {what.concept.value}",
                str(what.unit.value),
            )
            for name, what in MAP_QUANTITIES.items()
        ],
    )
    yield ""
    yield "## Codes"
    yield ""
    yield (
        "Structures have SNOMED CT codes, by a table from their names (`structure_codes.toml` in the package; "
        f"`${CODES_VARIABLE}` names one that wins); a name that neither has is coded as Tissue. Private codes of the "
        f"scheme {SCHEME}:"
    )
    yield ""
    yield from markdown_table(("code value", "meaning"), sorted(PRIVATE.items()))
    yield ""
    yield "## De-identification"
    yield ""
    yield (
        "Reports name patient, patient ID, birth date, accession number and study date, unless Patient Identity "
        "Removed (0012,0062) is YES. Key pictures show title and structures as typed, and do not state "
        "Burned In Annotation (0028,0301). `medsam-planner deidentify` is described under "
        "[Data from a hospital](use/hospital.md#de-identify)."
    )


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of a table in Markdown."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _readable() -> list[UID]:
    """Transfer syntaxes for which an installed decoder exists; uncompressed ones need none."""
    itk_jpeg.register()
    return [UID(uid) for uid in AllTransferSyntaxes if _is_decoded(UID(uid))]


def _is_decoded(uid: UID) -> bool:
    if not uid.is_encapsulated:
        return True
    try:
        return bool(get_decoder(uid).is_available)
    except NotImplementedError:
        return False
