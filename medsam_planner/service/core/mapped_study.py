"""The server's own copy of a study: voxels that every process maps from one file, and where they came from.

Processes share the memory of the file, so a study is held once, and a session is resumed without reading DICOM again.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import highdicom
import numpy as np

from medsam_planner.errors import OutputError, StudyError
from medsam_planner.io.files import whole_file
from medsam_planner.io.patient_identity import with_identity
from medsam_planner.volumes import StudySource, StudyVolume, volume_sha256

__all__ = ["FILES", "STUDIES_KEPT", "read_copy", "write_copy"]

_VOXELS = "voxels.npy"
_SOURCE = "source.pickle"
"""Headers with all their private elements. Only the server's user can write into the folder."""
FILES = frozenset({_VOXELS, _SOURCE})
STUDIES_KEPT = 64
"""Mapped studies of one process: they cost addresses, and memory only as long as nothing else needs it."""


def write_copy(folder: Path, volume: StudyVolume) -> None:
    """Write voxels and source of a study.

    Raises
    ------
    OutputError
        If there is no room.
    """
    try:
        with whole_file(folder / _VOXELS) as file:
            np.save(file, volume.array, allow_pickle=False)
        known = (volume.affine, volume.coordinate_system, volume.frame_of_reference_uid, volume.source)
        with whole_file(folder / _SOURCE) as file:
            pickle.dump(known, file)
    except OSError as error:
        raise OutputError(f"The study cannot be kept: {error.strerror or error}.") from error


def read_copy(folder: Path, sha256: str, *, is_identified: bool | None = None) -> StudyVolume:
    """Map the voxels of a study.

    Parameters
    ----------
    folder : Path
    sha256 : str
        Of voxels and affine, as :func:`medsam_planner.volumes.volume_sha256`.
    is_identified : bool, optional
        Whether reports and pages name the patient; None leaves it to the study's files.

    Raises
    ------
    StudyError
        If the copy is absent or damaged.
    """
    try:
        voxels = np.load(folder / _VOXELS, mmap_mode="r", allow_pickle=False).view(np.ndarray)
        affine, system, frame_uid, source = pickle.loads((folder / _SOURCE).read_bytes())
        assert source is None or isinstance(source, StudySource)
        volume = StudyVolume.from_volume(
            highdicom.Volume(voxels, affine, coordinate_system=system, frame_of_reference_uid=frame_uid), source
        )
    except (OSError, ValueError, EOFError, TypeError, AttributeError, pickle.UnpicklingError) as error:
        raise StudyError("The server's copy of the study cannot be read. Open it as a new study.") from error
    volume = with_identity(volume, is_identified)
    if volume_sha256(volume) != sha256:
        raise StudyError("The server's copy of the study is damaged: its voxels differ. Open it as a new study.")
    return volume
