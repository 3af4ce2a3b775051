"""The volume that all stages use, and its source.

A volume is a :class:`highdicom.Volume`: array axes as loaded, affine to LPS mm. A study that was read from files is a
:class:`StudyVolume` with a :class:`StudySource`; masks and maps computed from it are plain volumes on its grid.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
from numpy.typing import NDArray

from medsam_planner.errors import GeometryError
from medsam_planner.geometry import zeros_by_slice

__all__ = ["BoxedArray", "StudySource", "StudyVolume", "array_sha256", "source_of", "volume_like", "volume_sha256"]

_HASHED_AT_ONCE = 16
"""Slabs along the first axis that are hashed at once: one cache line of float32 in Fortran order."""


@dataclass(frozen=True, slots=True)
class StudySource:
    """Information from a study's files, for provenance and for DICOM objects that refer to them."""

    path: Path
    format: str
    """``"dicom"`` or ``"nifti"``."""
    modality: str
    """DICOM modality (``"CT"``, ``"MR"``); for NIfTI it is inferred from the values, and `modality_is_inferred` is
    True."""
    modality_is_inferred: bool = False
    series_instance_uid: str | None = None
    series_description: str = ""
    volume: int | None = None
    """Number of the volume in its series, where that holds several."""
    datasets: tuple[pydicom.Dataset, ...] = field(default=(), repr=False)
    """DICOM headers without pixels, in slice order."""
    operations: tuple[dict[str, Any], ...] = ()
    """Changes since the files were read (tilt resampling, clipping, bias correction, ...), oldest first."""
    notes: tuple[str, ...] = ()
    """What was left out or inferred while reading (localizers, the modality of NIfTI), in sentences."""
    is_identified: bool | None = None
    """Whether reports and pages name the patient; None where nobody chose, and the files say it."""

    @property
    def scanner(self) -> str | None:
        """Manufacturer and model of the scanner, where the files state them."""
        if not self.datasets:
            return None
        words = [str(self.datasets[0].get(key, "")).strip() for key in ("Manufacturer", "ManufacturerModelName")]
        return " ".join(word for word in words if word) or None

    @property
    def is_referable(self) -> bool:
        """Whether DICOM objects can refer to its files: there are DICOM files, each with a SOP Instance UID of its
        own."""
        names = [str(dataset.get("SOPInstanceUID") or "") for dataset in self.datasets]
        return bool(names) and all(names) and len(set(names)) == len(names)


class StudyVolume(highdicom.Volume):
    """A volume that was read from files, with its :class:`StudySource` in ``.source``."""

    source: StudySource | None = None
    _sha256: str | None = None
    """Of voxels that nobody can write to, once it was computed."""

    @classmethod
    def from_volume(cls, volume: highdicom.Volume, source: StudySource | None) -> StudyVolume:
        """Wrap `volume` (its array is shared, not copied)."""
        study = cls(
            array=volume.array,
            affine=volume.affine,
            coordinate_system=volume.coordinate_system,
            frame_of_reference_uid=volume.frame_of_reference_uid,
        )
        study.source = source
        return study


@dataclass(frozen=True, slots=True, eq=False)
class BoxedArray:
    """An array on a (K, J, I) grid, or several of them, stored as the box outside which all of them are zero."""

    low_index: tuple[int, ...]
    """Voxel (k, j, i) of the grid at which the box begins."""
    part: NDArray[Any]
    """(..., k, j, i) values in the box."""
    shape: tuple[int, ...]
    """(K, J, I) of the grid."""

    @classmethod
    def cut(cls, array: NDArray[Any], box: tuple[slice, ...]) -> BoxedArray:
        """Cut a (K, J, I) array to a box; the stored part is a view."""
        return cls(tuple(part.start for part in box), array[box], array.shape)

    @property
    def box(self) -> tuple[slice, ...]:
        """The stored box as slices of the grid."""
        return tuple(
            slice(low, low + size)
            for low, size in zip(self.low_index, self.part.shape[-len(self.shape) :], strict=True)
        )

    def whole(self, number: int | None = None, *, axis: int = 0) -> NDArray[Any]:
        """One array on the whole grid.

        Parameters
        ----------
        number : int, optional
            Which of the stored arrays; None where there is one.
        axis : int
            Array axis across which the result is laid out in memory slice by slice.

        Returns
        -------
        (K, J, I) ndarray
        """
        part = self.part if number is None else self.part[number]
        result = zeros_by_slice(self.shape, axis, part.dtype)
        result[self.box] = part
        return result


def source_of(volume: highdicom.Volume) -> StudySource | None:
    """The source of a volume; None where it was not read from files.

    highdicom's own methods (cropping, flipping, another array) return a volume without a source.
    """
    return volume.source if isinstance(volume, StudyVolume) else None


def volume_like(reference: highdicom.Volume, array: NDArray[Any]) -> highdicom.Volume:
    """Put `array` on the grid of `reference`.

    Raises
    ------
    GeometryError
        If the shapes differ.
    """
    if tuple(array.shape) != tuple(reference.spatial_shape):
        raise GeometryError(f"Expected an array of shape {tuple(reference.spatial_shape)}, got {tuple(array.shape)}.")
    return reference.get_geometry().with_array(array)


def array_sha256(array: NDArray[Any]) -> str:
    """SHA-256 of an array's shape, dtype and bytes, whatever its memory layout."""
    digest = hashlib.sha256(f"{array.shape}{array.dtype.str}".encode())
    if array.flags.c_contiguous:
        digest.update(array.data)
        return digest.hexdigest()
    for first in range(0, len(array), _HASHED_AT_ONCE):  # in parts, because a study is too large to be copied
        digest.update(np.ascontiguousarray(array[first : first + _HASHED_AT_ONCE]).data)
    return digest.hexdigest()


def volume_sha256(volume: highdicom.Volume) -> str:
    """SHA-256 of a volume's voxels (as float32) and affine (to 1e-6 mm)."""
    if isinstance(volume, StudyVolume) and not volume.array.flags.writeable:
        if volume._sha256 is None:
            volume._sha256 = _volume_sha256(volume)
        return volume._sha256
    return _volume_sha256(volume)


def _volume_sha256(volume: highdicom.Volume) -> str:
    affine = np.round(volume.affine, 6) + 0.0  # + 0.0 turns −0.0 into 0.0
    digest = hashlib.sha256(array_sha256(volume.array.astype(np.float32, copy=False)).encode())
    digest.update(affine.astype("<f8").tobytes())
    return digest.hexdigest()
