"""What the Basic Profile and its options ask for, attribute by attribute.

Actions come from the tables of PS3.15 (edition 2026c) in the package dicom-anonymizer. Where the standard leaves a
choice by the attribute's type (X/Z, X/D, Z/D, X/Z/D), the attribute stays with an empty or a dummy value, which is
right for every type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import cache
from typing import TYPE_CHECKING

from pydicom.sr.codedict import codes

if TYPE_CHECKING:
    from pydicom.sr.coding import Code

    from medsam_planner.deidentification.pixels import Region

__all__ = ["BINARY", "DESCRIPTORS", "SAFE_PRIVATE", "TECHNICAL", "Action", "Dates", "Profile", "actions"]

TABLE = "dicomfields_2026c"
"""Module of dicom-anonymizer with the table of PS3.15 2026c."""


class Dates(StrEnum):
    """What becomes of dates and times."""

    REMOVE = "remove"
    KEEP = "keep"
    SHIFT = "shift"


class Action(Enum):
    """What is done with an attribute that the table names."""

    REMOVE = "X"
    EMPTY = "Z"
    REPLACE = "D"
    UID = "U"
    CLEAN_ITEMS = "U*"
    """Items stay, with new UIDs."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The Basic Profile and the options that are taken."""

    dates: Dates = Dates.REMOVE
    keeps_descriptors: bool = False
    """Descriptions stay, cut down to words of DICOM's vocabulary."""
    regions: tuple[Region, ...] = ()
    """Blacked out in images with text in their pixels, which are refused without."""

    def codes(self, *, is_masked: bool = False, keeps_private: bool = False) -> list[Code]:
        """Codes of CID 7050 for an object; `is_masked` and `keeps_private` say what was done in this one."""
        dcm = codes.DCM
        taken = [dcm.BasicApplicationConfidentialityProfile, dcm.CleanStructuredContentOption]
        if is_masked:
            taken.append(dcm.CleanPixelDataOption)
        if self.keeps_descriptors:
            taken.append(dcm.CleanDescriptorsOption)
        if self.dates is Dates.KEEP:
            taken.append(dcm.RetainLongitudinalTemporalInformationFullDatesOption)
        if self.dates is Dates.SHIFT:
            taken.append(dcm.RetainLongitudinalTemporalInformationModifiedDatesOption)
        if keeps_private:
            taken.append(dcm.RetainSafePrivateOption)
        return taken


_ACTION_BY_CATEGORY = {
    "X_TAGS": Action.REMOVE,
    "Z_TAGS": Action.EMPTY,
    "X_Z_TAGS": Action.EMPTY,
    "D_TAGS": Action.REPLACE,
    "Z_D_TAGS": Action.REPLACE,
    "X_D_TAGS": Action.REPLACE,
    "X_Z_D_TAGS": Action.REPLACE,
    "U_TAGS": Action.UID,
    "X_Z_U_STAR_TAGS": Action.CLEAN_ITEMS,
}


@cache
def actions() -> Mapping[int, Action]:
    """By tag. Repeating groups (overlays, curves) are not here: they are removed as a whole."""
    from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector

    table = dicom_anonymization_database_selector(TABLE)
    return {
        place[0] << 16 | place[1]: action
        for category, action in _ACTION_BY_CATEGORY.items()
        for place in table[category]
        if len(place) == 2
    }


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


DESCRIPTORS = _names(
    "AcquisitionProtocolDescription AdmittingDiagnosesDescription ContrastBolusAgent DerivationDescription "
    "PerformedProcedureStepDescription ProtocolName ROIDescription ROIName ROIObservationLabel "
    "RequestedProcedureDescription ScheduledProcedureStepDescription SeriesDescription StructureSetDescription "
    "StructureSetLabel StructureSetName StudyDescription"
)
"""What ``keeps_descriptors`` keeps of the attributes that the table removes; comments are not among them."""

TECHNICAL = _names(
    "AlgorithmName AlgorithmVersion CodeValue CodingSchemeDesignator CodingSchemeVersion ConvolutionKernel FilterType "
    "LUTLabel LongCodeValue Manufacturer ManufacturerModelName ModalityLUTType PulseSequenceName ReceiveCoilName "
    "RescaleType SegmentAlgorithmName SequenceName SoftwareVersions StackID TransmitCoilName "
    "ImageComponentsTypeName ReconstructionAlgorithm DecayCorrection AttenuationCorrectionMethod "
    "ScatterCorrectionMethod RandomsCorrectionMethod ReconstructionMethod TimezoneOffsetFromUTC"
)
"""Texts that say how an image was made, and are kept if they hold no identifier of the patient."""

BINARY = _names(
    "PixelData FloatPixelData DoubleFloatPixelData LUTData RedPaletteColorLookupTableData "
    "GreenPaletteColorLookupTableData BluePaletteColorLookupTableData AlphaPaletteColorLookupTableData "
    "SegmentedRedPaletteColorLookupTableData SegmentedGreenPaletteColorLookupTableData "
    "SegmentedBluePaletteColorLookupTableData SegmentedAlphaPaletteColorLookupTableData VectorGridData "
    "PointCoordinatesData VectorCoordinateData PrimitivePointIndexList LongPrimitivePointIndexList "
    "LongEdgePointIndexList LongTrianglePointIndexList LongVertexPointIndexList TrackPointIndexList "
    "PixelPaddingValue SmallestImagePixelValue LargestImagePixelValue"
)
"""Binary values that are numbers and nothing else; all others are removed."""

SAFE_PRIVATE: Mapping[str, Mapping[int, frozenset[int]]] = {
    "SIEMENS MR HEADER": {0x0019: frozenset({0x0A, 0x0B, 0x0C, 0x0E, 0x27, 0x28, 0x29})},
    "GEMS_PARM_01": {0x0043: frozenset({0x39})},
    "GEMS_ACQU_01": {0x0019: frozenset({0xBB, 0xBC, 0xBD})},
    "Philips Imaging DD 001": {0x2001: frozenset({0x03})},
    "Philips MR Imaging DD 001": {0x2005: frozenset({0x0D, 0x0E, 0xB0, 0xB1, 0xB2})},
    "Philips PET Private Group": {0x7053: frozenset({0x00, 0x09})},
}
"""Private elements that are kept, by creator and group: numbers without which values or diffusion directions cannot be
computed. They are among the safe private attributes of PS3.15, and are kept only while they hold numbers."""
