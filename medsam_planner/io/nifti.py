"""Read and write NIfTI, converting between its RAS and LPS."""

from __future__ import annotations

import gzip
from importlib.metadata import version
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import GantryTiltError, StudyError
from medsam_planner.geometry import corner_indices, spacing_mm
from medsam_planner.io.files import write_whole
from medsam_planner.io.nifti_file import NiftiFile, open_nifti
from medsam_planner.io.slice_stack import MIN_SLICES, doubtful_size
from medsam_planner.io.tilt import straighten_array
from medsam_planner.volumes import StudySource, StudyVolume

__all__ = ["infer_modality", "read_nifti", "save_nifti"]

_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_AFFINE_AGREEMENT_MM = 0.1
"""How far sform and qform may put a corner apart: they are float32 and a quaternion of one and the same matrix."""
_STRAY_SHARE = 1e-4
"""Of the voxels: maps of diffusion hold a few negative ones where the fit failed."""
_AIR_HU = -200.0
"""Below this there is air in a CT; MR has no negative values beyond the ringing of an interpolation."""
_SHEAR_TOLERANCE = 1e-4
"""Cosine between axes that still counts as perpendicular (``highdicom.Volume`` demands it)."""

_FLAT = 1e-3
"""Volume spanned by three unit vectors below which they count as lying in a plane."""
_NIFTI_UNITS = {0: "unknown", 1: "meter", 2: "mm", 3: "micron"}


def infer_modality(array: NDArray[np.float32]) -> str:
    """``"CT"`` where values lie well below zero as air in HU does, in more than stray voxels, else ``"MR"``."""
    return "CT" if np.count_nonzero(array <= _AIR_HU) > _STRAY_SHARE * array.size else "MR"


def read_nifti(
    file: Path,
    *,
    name: str,
    path: Path,
    resample_tilt: bool = False,
    modality: str | None = None,
    is_scan: bool = True,
) -> StudyVolume:
    """Read a .nii or .nii.gz file as float32 in LPS mm.

    Parameters
    ----------
    file : Path
        The file to open.
    name : str
        What to call it in messages.
    path : Path
        What to record as the study's path.
    is_scan : bool
        False for masks and maps, which have no modality and may hold one value everywhere.

    Raises
    ------
    GantryTiltError
        If its axes are sheared and `resample_tilt` is not set.
    StudyError
        If it is not one scalar volume with a stated place in the patient.
    """
    opened = open_nifti(file, name)
    affine = _RAS_FROM_LPS @ _checked_affine(opened)
    array = opened.array().reshape(opened.shape[:3])
    _refuse_array(array, name, is_scan=is_scan)
    notes = opened.notes
    if is_scan and modality is None:
        notes += (_modality_note(array),)
    operations: tuple[dict[str, Any], ...] = ()
    if _is_sheared(affine):
        if not resample_tilt:
            raise GantryTiltError(
                f"The axes of {name} are not perpendicular (a scan with gantry tilt, or a registration's shear): its "
                "voxels are not boxes. Resample it to a straight grid with --resample-tilt (resample_tilt=True)."
            )
        array, affine, operation = _straighten(array, affine)
        operations = (operation,)
    volume = highdicom.Volume(array=array, affine=affine, coordinate_system="PATIENT")
    source = StudySource(
        path=path,
        format="nifti",
        modality=modality or infer_modality(array),
        modality_is_inferred=modality is None,
        operations=operations,
        notes=notes,
    )
    return StudyVolume.from_volume(volume, source)


def _modality_note(array: NDArray[np.float32]) -> str:
    found = infer_modality(array)
    reason = (
        f"its lowest value is {float(array.min()):g}, and {np.mean(array <= _AIR_HU):.2%} of its values lie below "
        f"{_AIR_HU:g}, where air in a CT lies"
    )
    other = "MR" if found == "CT" else "CT"
    return (
        f"Taken for {found}, as NIfTI does not say: {reason}. If it is {other}, read it again as {other}: "
        f"--modality {other}, modality under [study] in a plan file, or 'Modality' beside 'Open' on the page."
    )


def _checked_affine(opened: NiftiFile) -> NDArray[np.float64]:
    """Index to RAS mm; everything that can be wrong before the voxels are read is refused."""
    name, shape = opened.name, opened.shape
    if len(shape) < 3 or any(n != 1 for n in shape[3:]):
        raise StudyError(
            f"Expected one 3D volume, {name} has shape {shape}. Take one volume out of a series (for example with "
            "nibabel's four_to_three) and name that file."
        )
    if min(shape[:3]) < MIN_SLICES:
        raise StudyError(f"Expected at least {MIN_SLICES} voxels along each axis, {name} has shape {shape[:3]}.")
    dtype = opened.header.get_data_dtype()
    if dtype.names is not None or dtype.kind not in "iufb":
        raise StudyError(
            f"Expected one number per voxel, {name} holds {dtype} (colour or complex values). "
            "Write the scan itself, or the magnitude, as one number per voxel."
        )
    unit = _NIFTI_UNITS.get(int(opened.header["xyzt_units"]) % 8, "an unknown unit")
    if unit not in ("mm", "unknown"):
        raise StudyError(f"Expected millimetres, {name} states its spacing in {unit}. Correct its xyzt_units.")
    affine = _agreed_affine(opened)
    doubt = doubtful_size(spacing_mm(affine), shape)
    if doubt is not None:
        raise StudyError(f"{name}: {doubt}")
    return affine


def _agreed_affine(opened: NiftiFile) -> NDArray[np.float64]:
    name, sform, qform = opened.name, opened.sform, opened.qform
    for what, matrix in (("sform", sform), ("qform", qform)):
        if matrix is not None and not _is_invertible(matrix):
            raise StudyError(
                f"The {what} of {name} is not an invertible affine: {np.round(matrix, 4).tolist()}. "
                "Write the scanner's affine into it, or convert the DICOM again."
            )
    if sform is not None and qform is not None:
        corners = corner_indices(opened.shape[:3])
        apart = np.linalg.norm(corners @ (sform - qform)[:3, :3].T + (sform - qform)[:3, 3], axis=1).max()
        if apart > _AFFINE_AGREEMENT_MM and not _is_sheared(sform):
            raise StudyError(
                f"The sform and the qform of {name} put its corners up to {apart:.2f} mm apart, and the program "
                "cannot tell which is right. Set both to the right affine, or set the code of the wrong one to 0."
            )
    if opened.affine is None:
        raise StudyError(
            f"{name} does not say where it lies in the patient (sform_code and qform_code are 0), so left and right "
            "are unknown. Write the scanner's affine into it, or convert the DICOM again."
        )
    return opened.affine


def _is_invertible(matrix: NDArray[np.float64]) -> bool:
    """Whether its axes span space, however short they are."""
    if not np.isfinite(matrix).all():
        return False
    length = np.linalg.norm(matrix[:3, :3], axis=0)
    return bool(length.min() > 0 and abs(np.linalg.det(matrix[:3, :3] / length)) > _FLAT)


def _refuse_array(array: NDArray[np.float32], name: str, *, is_scan: bool) -> None:
    bad = ~np.isfinite(array)
    if bad.any():
        first = tuple(int(n) for n in np.argwhere(bad)[0])
        raise StudyError(
            f"{int(bad.sum())} voxels of {name} are NaN or infinite (the first at index {first}). "
            "Replace them by a value that means background."
        )
    if is_scan and float(array.min()) == float(array.max()):
        raise StudyError(f"All voxels of {name} have the value {float(array.min()):g}; there is nothing to segment.")


def _is_sheared(affine: NDArray[np.float64]) -> bool:
    unit = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(unit.T @ unit - np.eye(3)).max() > _SHEAR_TOLERANCE)


def _straighten(
    array: NDArray[np.float32], affine: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64], dict[str, Any]]:
    """Straighten along the axis of the stack: the coarsest of those whose two other axes are perpendicular."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    cosines = np.abs((affine[:3, :3] / spacing).T @ (affine[:3, :3] / spacing))
    within = np.array([cosines[1, 2], cosines[0, 2], cosines[0, 1]])
    stacked = int(np.argmax(np.where(within <= max(_SHEAR_TOLERANCE, within.min()), spacing, 0.0)))
    order = [stacked, *(axis for axis in range(3) if axis != stacked)]
    result, straight, operation = straighten_array(np.transpose(array, order), affine[:, [*order, 3]])
    back = np.argsort(order)
    return np.transpose(result, back), straight[:, [*back, 3]], operation


def save_nifti(volume: highdicom.Volume, path: str | Path) -> Path:
    """Write `volume` as NIfTI on its own grid: same axes, same affine, nothing resampled.

    Masks (bool) become uint8, floats float32, 64-bit integers int32. sform and qform are both the affine in RAS with
    code 1 (scanner). The bytes depend on the volume alone (no time stamp, no file name).

    Raises
    ------
    StudyError
        If the name does not end in .nii or .nii.gz, or an integer does not fit 32 bits.
    """
    import nibabel

    target = Path(path)
    if not target.name.endswith((".nii", ".nii.gz")):
        raise StudyError(f"Expected a file name that ends in .nii or .nii.gz, got '{target.name}'.")
    array = volume.array
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    elif array.dtype.kind == "f":
        array = array.astype(np.float32)
    elif array.dtype.itemsize == 8:
        if np.abs(array).max(initial=0) > np.iinfo(np.int32).max:
            raise StudyError("Expected integers that fit 32 bits; programs that read NIfTI do not take longer ones.")
        array = array.astype(np.int32)
    affine = _RAS_FROM_LPS @ volume.affine
    image = nibabel.Nifti1Image(array, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = f"MedSAM Planner {version('medsam-planner')}, research use only".encode()
    data = image.to_bytes()
    if target.name.endswith(".gz"):
        data = gzip.compress(data, compresslevel=6, mtime=0)
    return write_whole(target, data)
