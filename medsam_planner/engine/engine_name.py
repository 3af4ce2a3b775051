"""Names of engines: which library computes an image encoder, in which precision, and from which export.

``ENGINE``, ``ENGINE:PRECISION`` or ``ENGINE:PRECISION:EXPORT``, as ``torch``, ``openvino:int8`` or
``openvino:int8:3f2a91c0b7de``. EXPORT is the beginning of the SHA-256 of the exported file. ``auto`` leaves the choice
to the machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from medsam_planner.errors import WeightsError

__all__ = ["AUTO", "PRECISIONS", "REFERENCE", "EngineName"]

AUTO = "auto"
PRECISIONS = {"torch": ("fp32", "bf16"), "openvino": ("int8", "bf16", "fp32"), "onnx": ("int8", "fp32")}
"""Precisions of each engine, the fastest first; torch begins with its reference."""
_DIGITS = 12


@dataclass(frozen=True, slots=True)
class EngineName:
    """An engine with its precision and, where it computes from an exported file, that file."""

    engine: str
    precision: str
    export: str = ""
    """First twelve digits of the file's SHA-256; empty for torch, and where any export will do."""

    @classmethod
    def read(cls, text: str) -> Self:
        """Read a name; without a precision it is torch's reference, or an export of any precision ("").

        Raises
        ------
        WeightsError
            If there is no such engine or precision; lists them.
        """
        engine, _, rest = text.partition(":")
        precision, _, export = rest.partition(":")
        known = PRECISIONS.get(engine, ())
        digits = set("0123456789abcdef")
        if not known or precision not in ("", *known) or (export and (engine == "torch" or set(export) - digits)):
            names = ", ".join(f"{one}:{each}" for one, precisions in PRECISIONS.items() for each in precisions)
            raise WeightsError(f"Expected the engine {AUTO}, {', '.join(PRECISIONS)}, or one of {names}; got {text!r}.")
        if engine == "torch" and not precision:
            precision = "fp32"
        return cls(engine, precision, export[:_DIGITS])

    @classmethod
    def of_export(cls, engine: str, precision: str, sha256: str) -> Self:
        """The name under which masks of an export are recorded."""
        return cls(engine, precision, sha256[:_DIGITS])

    def covers(self, other: EngineName) -> bool:
        """Whether `other` is what this name asks for; parts that it leaves open are any."""
        return self.engine == other.engine and all(
            wanted in ("", found) for wanted, found in ((self.precision, other.precision), (self.export, other.export))
        )

    def __str__(self) -> str:
        return ":".join(part for part in (self.engine, self.precision, self.export) if part)


REFERENCE = EngineName("torch", "fp32")
"""What all others are compared with."""
