"""Masks and maps as DICOM objects that refer back to the study they were made from.

A mask becomes a binary Segmentation, a map a Parametric Map with 32-bit floats (a fractional segmentation would cut an
entropy to 8 bits). Every slice of the grid is written, empty ones too, so that the object alone gives back the whole
volume. UIDs follow from the content and `created`; where the source's own UIDs were blank, the objects refer to those
that reading the study made up (see :mod:`medsam_planner.io.blank_uids`).
"""

from __future__ import annotations

import datetime
from importlib.metadata import version
from pathlib import Path

import highdicom
import numpy as np
from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes

from medsam_planner.errors import EmptyStructureError, GeometryError, StudyError
from medsam_planner.io.dicom_objects import image_sources, instance_identity, made, source_headers, write_object
from medsam_planner.volumes import StudyVolume, volume_sha256

__all__ = ["save_dicom_seg", "save_parametric_map"]

_SEG_SERIES_NUMBER = 9001
_MAP_SERIES_NUMBER = 9002
_LONGEST_LABEL = 64
"""Characters in a DICOM long string (VR LO)."""

_QUANTITY_MEANINGS = {
    "uncertainty": "Predictive entropy",
    "mutual_information": "Mutual information",
    "boundary_spread_mm": "Standard deviation of the signed distance to the surface",
    "saliency": "Gradient-weighted class activation",
    "probability": "Probability of the structure",
}
_UNITS = {
    "1": codes.UCUM.NoUnits,
    "mm": codes.UCUM.Millimeter,
    "bit": CodedConcept("bit", "UCUM", "bit"),
}


def save_dicom_seg(
    mask: highdicom.Volume,
    path: str | Path,
    study: StudyVolume,
    *,
    label: str,
    algorithm_name: str = "MedSAM Planner",
    created: datetime.datetime | None = None,
) -> Path:
    """Write `mask` as a DICOM Segmentation of `study`.

    Parameters
    ----------
    mask : Volume of bool
        On any grid of the study's frame of reference; usually the study's own.
    label
        What the structure is called, at most 64 characters.
    algorithm_name
        Recorded with this package's version as the algorithm.
    created
        Content date and time; now by default. The same time gives the same bytes.

    Raises
    ------
    StudyError
        If the study was not read from DICOM.
    GeometryError
        If the mask is of another frame of reference, or not a mask.
    EmptyStructureError
        If the mask has no voxel.
    """
    headers = source_headers(study)
    _require_same_frame(mask, study)
    if mask.array.dtype != np.bool_:
        raise GeometryError(f"Expected a mask of bool, got {mask.array.dtype}.")
    if not mask.array.any():
        raise EmptyStructureError(f"The mask of '{label}' has no voxel; a segmentation needs one.")
    if not 0 < len(label) <= _LONGEST_LABEL or "\\" in label:
        raise StudyError(f"Expected a label of 1 to {_LONGEST_LABEL} characters without a backslash, got '{label}'.")
    description = highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label=label,
        segmented_property_category=codes.SCT.Tissue,
        segmented_property_type=codes.SCT.Tissue,
        algorithm_type="SEMIAUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=algorithm_name, version=version("medsam-planner"), family=codes.DCM.ArtificialIntelligence
        ),
    )
    segmentation = made(
        highdicom.seg.Segmentation,
        **image_sources(headers),
        pixel_array=_as_plain(mask, mask.array.astype(np.uint8)),
        segmentation_type="BINARY",
        segment_descriptions=[description],
        omit_empty_frames=False,
        content_label="SEGMENTATION",
        content_description=label,
        series_description=label,
        **instance_identity(study, f"seg/{label}/{algorithm_name}", volume_sha256(mask), _SEG_SERIES_NUMBER, created),
    )
    return write_object(segmentation, path)


def save_parametric_map(
    values: highdicom.Volume,
    path: str | Path,
    study: StudyVolume,
    *,
    quantity: str,
    unit: str,
    created: datetime.datetime | None = None,
) -> Path:
    """Write a map of `study` as a DICOM Parametric Map of 32-bit floats.

    Parameters
    ----------
    values : Volume of float
        On any grid of the study's frame of reference; usually the study's own.
    quantity
        ``"uncertainty"``, ``"mutual_information"``, ``"boundary_spread_mm"``, ``"saliency"`` or ``"probability"``.
    unit
        UCUM code: ``"bit"``, ``"mm"`` or ``"1"``.
    created
        Content date and time; now by default. The same time gives the same bytes.

    Raises
    ------
    StudyError
        If the study was not read from DICOM, or quantity or unit is unknown, or a value is not finite.
    GeometryError
        If the map is of another frame of reference.
    """
    headers = source_headers(study)
    _require_same_frame(values, study)
    if quantity not in _QUANTITY_MEANINGS or unit not in _UNITS:
        raise StudyError(
            f"Expected a quantity of {', '.join(_QUANTITY_MEANINGS)} in {', '.join(_UNITS)}; "
            f"got '{quantity}' in '{unit}'."
        )
    array = values.array.astype(np.float32)
    if not np.isfinite(array).all():
        raise StudyError(f"The map of {quantity} has values that are not finite; a parametric map cannot state them.")
    low, high = float(array.min()), float(array.max())
    mapping = highdicom.pm.RealWorldValueMapping(
        lut_label=quantity[:16].upper(),
        lut_explanation=_QUANTITY_MEANINGS[quantity],
        unit=_UNITS[unit],
        value_range=(low, high),
        slope=1.0,
        intercept=0.0,
        quantity_definition=CodedConcept(quantity[:16], "99MEDSAMPLANNER", _QUANTITY_MEANINGS[quantity]),
    )
    window = highdicom.VOILUTTransformation(window_center=(low + high) / 2, window_width=max(high - low, 1e-6))
    parametric_map = made(
        highdicom.pm.ParametricMap,
        **image_sources(headers),
        pixel_array=_as_plain(values, array),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[window],
        content_label=quantity[:16].rstrip("_ ").upper(),
        content_description=_QUANTITY_MEANINGS[quantity],
        series_description=quantity.replace("_", " "),
        **instance_identity(study, f"map/{quantity}", volume_sha256(values), _MAP_SERIES_NUMBER, created),
    )
    return write_object(parametric_map, path)


def _require_same_frame(volume: highdicom.Volume, study: StudyVolume) -> None:
    if volume.frame_of_reference_uid != study.frame_of_reference_uid:
        raise GeometryError(
            f"Expected a volume in the study's frame of reference {study.frame_of_reference_uid}, "
            f"got {volume.frame_of_reference_uid}."
        )


def _as_plain(volume: highdicom.Volume, array: np.ndarray) -> highdicom.Volume:
    return highdicom.Volume(
        array=array,
        affine=volume.affine,
        coordinate_system=volume.coordinate_system,
        frame_of_reference_uid=volume.frame_of_reference_uid,
    )
