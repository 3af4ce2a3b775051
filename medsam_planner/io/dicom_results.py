"""Masks and maps as DICOM objects that refer back to the study they were made from.

A mask becomes a binary Segmentation, a map a Parametric Map with 32-bit floats (a fractional segmentation would cut an
entropy to 8 bits). Every slice of the grid is written, empty ones too, so that the object alone gives back the whole
volume. UIDs follow from the content and `created`; where the source's own UIDs were blank, the objects refer to those
that reading the study made up (see :mod:`medsam_planner.io.blank_uids`).
"""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes

from medsam_planner.errors import EmptyStructureError, GeometryError, StudyError
from medsam_planner.io.blank_uids import content_uid
from medsam_planner.io.study_files import plain_copy
from medsam_planner.volumes import StudyVolume, volume_sha256

__all__ = ["save_dicom_seg", "save_parametric_map"]

_MANUFACTURER = "MedSAM Planner"
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
    headers = _source_headers(study)
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
    segmentation = _made(
        highdicom.seg.Segmentation,
        source_images=headers,
        pixel_array=_as_plain(mask, mask.array.astype(np.uint8)),
        segmentation_type="BINARY",
        segment_descriptions=[description],
        omit_empty_frames=False,
        content_label="SEGMENTATION",
        content_description=label,
        series_description=label,
        **_instance(mask, study, f"seg/{label}/{algorithm_name}", _SEG_SERIES_NUMBER, created),
    )
    return _write(segmentation, path)


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
    headers = _source_headers(study)
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
    parametric_map = _made(
        highdicom.pm.ParametricMap,
        source_images=headers,
        pixel_array=_as_plain(values, array),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[window],
        content_label=quantity[:16].rstrip("_ ").upper(),
        content_description=_QUANTITY_MEANINGS[quantity],
        series_description=quantity.replace("_", " "),
        **_instance(values, study, f"map/{quantity}", _MAP_SERIES_NUMBER, created),
    )
    return _write(parametric_map, path)


def _made(kind: Callable[..., pydicom.Dataset], **options: Any) -> pydicom.Dataset:
    """Construct an object without highdicom's remarks on how the source spells the patient's name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*unlikely to represent the intended person name")
        return kind(**options)


def _source_headers(study: StudyVolume) -> list[pydicom.Dataset]:
    """Headers of the source with the empty attributes that objects must copy but old files leave out."""
    source = study.source
    if source is None or source.format != "dicom" or not source.datasets:
        came = "a volume without a source" if source is None else f"one read from {source.format}"
        raise StudyError(
            f"A DICOM object refers to the DICOM study it was made from, got {came}. Save it with save_nifti instead."
        )
    headers = []
    for dataset in source.datasets:
        header = plain_copy(dataset)
        for keyword in [
            "PatientID",
            "PatientName",
            "PatientBirthDate",
            "PatientSex",
            "AccessionNumber",
            "StudyID",
            "StudyDate",
            "StudyTime",
            "ReferringPhysicianName",
        ]:
            if keyword not in header:
                setattr(header, keyword, "")
        _complete_geometry(header, study)
        headers.append(header)
    return headers


def _complete_geometry(header: pydicom.Dataset, study: StudyVolume) -> None:
    """Put geometry where highdicom looks for it; the new object's own comes from its grid, not from here."""
    if "PerFrameFunctionalGroupsSequence" not in header:
        if not header.get("SliceThickness"):
            header.SliceThickness = float(study.spacing[0])
        return
    first = header.PerFrameFunctionalGroupsSequence[0]
    shared = plain_copy((header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0])
    for keyword in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
        if keyword not in shared:
            setattr(shared, keyword, first[keyword].value)
    header.SharedFunctionalGroupsSequence = [shared]


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


def _instance(
    volume: highdicom.Volume, study: StudyVolume, what: str, series_number: int, created: datetime.datetime | None
) -> dict[str, Any]:
    """Identity, time and maker of a new object."""
    moment = created if created is not None else datetime.datetime.now()
    series_uid = study.source.series_instance_uid if study.source is not None else ""
    identity = (str(series_uid), what, volume_sha256(volume), moment.isoformat())
    return {
        "series_instance_uid": content_uid("series", *identity),
        "series_number": series_number,
        "sop_instance_uid": content_uid("instance", *identity),
        "instance_number": 1,
        "manufacturer": _MANUFACTURER,
        "manufacturer_model_name": _MANUFACTURER,
        "software_versions": version("medsam-planner"),
        "device_serial_number": "1",
        "content_date": moment.date(),
        "content_time": moment.time(),
        "series_date": moment.date(),
        "series_time": moment.time(),
        "specific_character_set": "ISO_IR 192",
    }


def _write(dataset: pydicom.Dataset, path: str | Path) -> Path:
    # highdicom takes the wall clock and a random UID here; the content's own keep equal objects equal.
    dataset.InstanceCreationDate = dataset.ContentDate
    dataset.InstanceCreationTime = dataset.ContentTime
    for item in dataset.get("ContributingEquipmentSequence") or ():
        item.ContributionDateTime = f"{dataset.ContentDate}{dataset.ContentTime}"
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = content_uid("dimensions", dataset.SOPInstanceUID)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(target, enforce_file_format=True)
    return target
