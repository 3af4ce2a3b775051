"""Explicit changes of intensities. Each returns a new volume and records itself in ``source.operations``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import highdicom
import numpy as np

from medsam_planner.errors import OperationCancelledError, StudyError
from medsam_planner.geometry import spacing_mm
from medsam_planner.io.intensity import volume_modality
from medsam_planner.io.itk_threads import one_itk_thread
from medsam_planner.progress import Progress
from medsam_planner.volumes import StudyVolume, source_of

__all__ = ["CT_RANGE_HU", "clip_outliers", "correct_bias_field", "corrected_again", "with_operation"]

CT_RANGE_HU = (-1024.0, 3071.0)
"""What 12 bits hold: air to dense bone. Above it is metal and its streaks, below it the padding outside the scan."""

_OUTLIER_PERCENTILES = (0.1, 99.9)
_N4_LEVELS = 4
_N4_WORKING_SPACING_MM = 4.0
"""A bias field is smooth over centimetres; N4 runs on voxels of about this size; its field goes on the full grid."""


def with_operation(volume: highdicom.Volume, result: highdicom.Volume, operation: dict[str, Any]) -> highdicom.Volume:
    """Give `result` the source of `volume` with one more operation; a volume without a source stays without."""
    source = source_of(volume)
    if source is None:
        return result
    return StudyVolume.from_volume(result, dataclasses.replace(source, operations=(*source.operations, operation)))


def clip_outliers(volume: highdicom.Volume, *, low: float | None = None, high: float | None = None) -> highdicom.Volume:
    """Clip values beyond what tissue has: metal, padding, spikes.

    Parameters
    ----------
    low, high
        Bounds in the volume's values; by default −1024 and 3071 HU for CT, the 0.1 and 99.9 percentiles for MR.

    Raises
    ------
    StudyError
        If `low` is not below `high`.
    """
    array = volume.array
    if volume_modality(volume) == "CT":
        usual = CT_RANGE_HU
    else:
        usual = (
            float(np.percentile(array, _OUTLIER_PERCENTILES[0])),
            float(np.percentile(array, _OUTLIER_PERCENTILES[1])),
        )
    bounds = (usual[0] if low is None else float(low), usual[1] if high is None else float(high))
    if not bounds[0] < bounds[1]:
        raise StudyError(f"Expected a lower bound below the upper one, got {bounds[0]:g} and {bounds[1]:g}.")
    operation = {
        "name": "clip_outliers",
        "low": bounds[0],
        "high": bounds[1],
        "voxels_below": int((array < bounds[0]).sum()),
        "voxels_above": int((array > bounds[1]).sum()),
    }
    clipped = np.clip(array, *bounds).astype(array.dtype, copy=False)
    return with_operation(volume, volume.with_array(clipped), operation)


def correct_bias_field(
    volume: highdicom.Volume, *, iterations: int = 50, progress: Progress | None = None
) -> highdicom.Volume:
    """Divide an MR by its smooth intensity inhomogeneity (N4, through SimpleITK, on one thread: same bytes every time).

    Parameters
    ----------
    iterations
        At most, on each of four levels.

    Raises
    ------
    StudyError
        If the volume is not MR, or has negative values.

    References
    ----------
    .. [1] Tustison et al., N4ITK: improved N3 bias correction, IEEE TMI 2010, doi:10.1109/TMI.2010.2046908.
    """
    import SimpleITK as sitk  # noqa: N813 - the name its documentation uses

    if volume_modality(volume) != "MR":
        raise StudyError("A bias field is a property of MR coils; this study is CT, whose HU are calibrated.")
    array = np.ascontiguousarray(volume.array, dtype=np.float32)
    if float(array.min()) < 0:
        raise StudyError(
            f"N4 works on the logarithm and needs values from 0 up, got a minimum of {float(array.min()):g}. "
            "Clip them first: --clip-outliers (clip_outliers with low=0)."
        )
    spacing = spacing_mm(volume.affine)
    factors = [
        int(max(1, min(_N4_WORKING_SPACING_MM // step, count // 16)))
        for step, count in zip(spacing, array.shape, strict=True)
    ]
    with one_itk_thread():
        image = sitk.GetImageFromArray(array)
        image.SetSpacing([float(value) for value in spacing[::-1]])
        small = sitk.Shrink(image, factors[::-1])
        n4 = sitk.N4BiasFieldCorrectionImageFilter()
        n4.SetMaximumNumberOfIterations([iterations] * _N4_LEVELS)
        _execute(n4, small, sitk.OtsuThreshold(small, 0, 1, 200), iterations * _N4_LEVELS, progress)
        field = np.exp(sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)))
    corrected = (array / field).astype(np.float32)
    operation = {
        "name": "correct_bias_field",
        "method": "N4",
        "iterations": [iterations] * _N4_LEVELS,
        "shrink_factors": factors,
        "field_min": float(field.min()),
        "field_max": float(field.max()),
    }
    return with_operation(volume, volume.with_array(corrected), operation)


def corrected_again(
    volume: highdicom.Volume, operations: Iterable[Mapping[str, Any]], *, progress: Progress | None = None
) -> highdicom.Volume:
    """Apply the corrections that `operations` of an earlier reading record, in their order and with their figures.

    Raises
    ------
    StudyError
        If a record is damaged, or a correction cannot be applied to this volume.
    """
    for operation in operations:
        try:
            if operation["name"] == "clip_outliers":
                volume = clip_outliers(volume, low=float(operation["low"]), high=float(operation["high"]))
            elif operation["name"] == "correct_bias_field":
                volume = correct_bias_field(volume, iterations=int(operation["iterations"][0]), progress=progress)
        except (KeyError, IndexError, TypeError) as error:
            raise StudyError(f"Expected a recorded correction with its figures, got {dict(operation)}.") from error
    return volume


def _execute(n4: Any, image: Any, mask: Any, total: int, progress: Progress | None) -> None:
    """Run N4, reporting each iteration and stopping at the next one when asked to."""
    import SimpleITK as sitk  # noqa: N813

    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress.update("Correcting the bias field", min(done, total), total)
            if progress.is_cancelled:
                n4.Abort()

    n4.AddCommand(sitk.sitkIterationEvent, tick)
    try:
        n4.Execute(image, mask)
    except RuntimeError as error:
        if not (progress is not None and progress.is_cancelled):
            raise StudyError(f"The bias field cannot be estimated: {error}") from error
    if progress is not None and progress.is_cancelled:
        raise OperationCancelledError("Stopped on request during the bias field correction.")
