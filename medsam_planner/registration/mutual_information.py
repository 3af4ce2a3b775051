"""The search: Mattes' mutual information over a pyramid, from one start, with SimpleITK."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import highdicom
import numpy as np
from scipy import ndimage

from medsam_planner.errors import StudyError
from medsam_planner.geometry import spacing_mm
from medsam_planner.io.itk_threads import one_itk_thread
from medsam_planner.registration.rigid_transform import RigidTransform

__all__ = ["Pyramid", "Searched", "measure", "pyramid_of", "search"]

_BINS = 32
_SAMPLES = 40_000
"""Voxels per level at which the metric is computed, at most."""
_FEWEST_VOXELS = 12
"""Along each axis of the coarsest level, where the volume has them."""
_ITERATIONS = 80
_FINEST_MM = 1.5
"""A finer grid does not make mutual information more exact, only slower."""


@dataclass(frozen=True, slots=True, eq=False)
class Pyramid:
    """Images of SimpleITK of both series, the coarsest first."""

    fixed: tuple[Any, ...]
    moving: tuple[Any, ...]
    spacing_mm: tuple[float, ...]
    """Of each level."""


@dataclass(frozen=True, slots=True, eq=False)
class Searched:
    """Where a search ended."""

    transform: RigidTransform
    information_nat: float
    """Mutual information; more is better."""


def pyramid_of(fixed: highdicom.Volume, moving: highdicom.Volume) -> Pyramid:
    """Both series on isotropic grids of 6 to 1.5 mm, fewer where a series is small.

    Raises
    ------
    StudyError
        If a series holds one value everywhere, or its axes are not perpendicular.
    """
    smallest = min(float((spacing_mm(one.affine) * one.spatial_shape).min()) for one in (fixed, moving))
    finest = max(_FINEST_MM, min(float(spacing_mm(one.affine).min()) for one in (fixed, moving)))
    coarsest = max(finest, min(6.0, smallest / _FEWEST_VOXELS))
    count = 1 + round(math.log2(coarsest / finest))
    levels = tuple(float(step) for step in np.geomspace(coarsest, finest, max(count, 1)))
    images = []
    for volume, name in ((fixed, "fixed"), (moving, "moving")):
        chain = [_image(volume, name)]
        for step in levels[::-1]:  # each from the finer one, which has far fewer voxels than the series
            chain.append(_coarser(chain[-1], step))
        images.append(tuple(chain[:0:-1]))
    return Pyramid(images[0], images[1], levels)


def search(
    pyramid: Pyramid, start: RigidTransform, *, levels: slice = slice(None), seed: int = 1, samples: int = _SAMPLES
) -> Searched:
    """Climb from one start; the same arguments give the same transform.

    Parameters
    ----------
    pyramid : Pyramid
    start : RigidTransform
    levels : slice
        Which levels to use, in order.
    seed : int
        Of the voxels at which the metric is computed; at least 1.
    samples : int
        How many of them.

    Returns
    -------
    Searched
        With the metric of the last level used. A start from which the images do not overlap gives minus infinity.
    """
    found, value = start, -math.inf
    with one_itk_thread():
        for fixed, moving, step in list(zip(pyramid.fixed, pyramid.moving, pyramid.spacing_mm, strict=True))[levels]:
            method = _method(fixed, seed, samples)
            method.SetOptimizerAsRegularStepGradientDescent(
                learningRate=step,
                minStep=step / 200,
                numberOfIterations=_ITERATIONS,
                relaxationFactor=0.6,
                gradientMagnitudeTolerance=1e-6,
            )
            method.SetOptimizerScalesFromPhysicalShift()
            method.SetInitialTransform(_itk(found, fixed), inPlace=False)
            try:
                result = method.Execute(fixed, moving)
            except RuntimeError:  # all samples lie outside the moving image
                return Searched(found, -math.inf)
            found, value = _from_itk(result), -float(method.GetMetricValue())
    return Searched(found, value)


def measure(pyramid: Pyramid, transform: RigidTransform, *, seed: int = 1) -> float:
    """Mutual information of a transform in nat, on the finest level; minus infinity where the images do not overlap."""
    fixed, moving = pyramid.fixed[-1], pyramid.moving[-1]
    with one_itk_thread():
        method = _method(fixed, seed, _SAMPLES)
        method.SetInitialTransform(_itk(transform, fixed))
        try:
            return -float(method.MetricEvaluate(fixed, moving))
        except RuntimeError:
            return -math.inf


def _method(fixed: Any, seed: int, samples: int) -> Any:
    import SimpleITK as sitk  # noqa: N813

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(min(1.0, samples / math.prod(fixed.GetSize())), seed)
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _image(volume: highdicom.Volume, name: str) -> Any:
    """A volume as an image of SimpleITK, in LPS mm."""
    import SimpleITK as sitk  # noqa: N813

    array = np.ascontiguousarray(volume.array, dtype=np.float32)
    low, high = (float(value) for value in np.percentile(array, (0.1, 99.9)))  # metal and spikes would take all bins
    if not low < high:
        raise StudyError(f"Expected structure in the {name} series, got {array.min():g} in nearly all voxels.")
    image = sitk.GetImageFromArray(np.clip(array, low, high))
    spacing = spacing_mm(volume.affine)
    direction = (volume.affine[:3, :3] / spacing)[:, ::-1]
    if np.abs(direction.T @ direction - np.eye(3)).max() > 1e-3:
        raise StudyError(
            f"Expected perpendicular voxel axes of the {name} series, got a sheared grid. Read it with --resample-tilt."
        )
    image.SetSpacing([float(step) for step in spacing[::-1]])
    image.SetOrigin([float(value) for value in volume.affine[:3, 3]])
    image.SetDirection([float(value) for value in direction.ravel()])
    return image


def _coarser(image: Any, step_mm: float) -> Any:
    """The image smoothed for and sampled at a spacing, on its own axes, over the same extent."""
    import SimpleITK as sitk  # noqa: N813

    spacing, size = np.array(image.GetSpacing()), np.array(image.GetSize())
    sigma = np.sqrt(np.maximum(step_mm**2 - spacing**2, 0.0)) / 2 / spacing
    smooth = image
    if (sigma > 0).any():
        array = sitk.GetArrayViewFromImage(image)
        smooth = sitk.GetImageFromArray(ndimage.gaussian_filter(array, sigma[::-1], mode="nearest", truncate=3.0))
        smooth.CopyInformation(image)
    target = np.maximum(spacing, step_mm)
    count = np.maximum(np.floor(spacing * (size - 1) / target).astype(int) + 1, 2)
    rest = (spacing * (size - 1) - target * (count - 1)) / 2
    direction = np.array(image.GetDirection()).reshape(3, 3)
    resample = sitk.ResampleImageFilter()
    resample.SetSize([int(n) for n in count])
    resample.SetOutputSpacing([float(value) for value in target])
    resample.SetOutputOrigin([float(value) for value in np.array(image.GetOrigin()) + direction @ rest])
    resample.SetOutputDirection(image.GetDirection())
    resample.SetInterpolator(sitk.sitkLinear)
    with one_itk_thread():
        return resample.Execute(smooth)


def _itk(transform: RigidTransform, fixed: Any) -> Any:
    """ITK's transform maps places of the fixed image to places of the moving one, about the fixed image's centre."""
    import SimpleITK as sitk  # noqa: N813

    middle = fixed.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in fixed.GetSize()])
    result = sitk.Euler3DTransform()
    result.SetCenter(middle)
    matrix = transform.moving_from_fixed
    result.SetMatrix(matrix[:3, :3].ravel().tolist(), 1e-6)
    result.SetTranslation((matrix[:3, :3] @ middle + matrix[:3, 3] - middle).tolist())
    return result


def _from_itk(result: Any) -> RigidTransform:
    rigid = result.GetNthTransform(0).Downcast() if hasattr(result, "GetNthTransform") else result.Downcast()
    rotation = np.array(rigid.GetMatrix()).reshape(3, 3)
    left, _, right = np.linalg.svd(rotation)
    rotation = left @ right
    centre, translation = np.array(rigid.GetCenter()), np.array(rigid.GetTranslation())
    moving_from_fixed = np.eye(4)
    moving_from_fixed[:3, :3] = rotation
    moving_from_fixed[:3, 3] = centre + translation - rotation @ centre
    return RigidTransform(moving_from_fixed).inverse
