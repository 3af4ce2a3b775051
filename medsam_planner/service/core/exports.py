"""Files of a 3D result, written when they are first asked for: NIfTI, DICOM objects, meshes."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from medsam_planner.errors import NotThereError
from medsam_planner.io import save_nifti
from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.volumes import StudyVolume
from medsam_planner.workflow.run_folder import write_objects
from medsam_planner.workflow.segment import surfaces_of

__all__ = ["ResultFile", "write_result_file"]


class ResultFile(Enum):
    """The files of a 3D result by their names."""

    MASK = "mask.nii.gz"
    PROBABILITY = "probability.nii.gz"
    UNCERTAINTY = "uncertainty.nii.gz"
    MUTUAL_INFORMATION = "mutual_information.nii.gz"
    BOUNDARY_SPREAD = "boundary_spread_mm.nii.gz"
    SALIENCY = "saliency.nii.gz"
    MASK_DICOM = "mask.dcm"
    UNCERTAINTY_DICOM = "uncertainty.dcm"
    BOUNDARY_SPREAD_DICOM = "boundary_spread_mm.dcm"
    SALIENCY_DICOM = "saliency.dcm"
    MESH_STL = "mesh.stl"
    MESH_GLB = "mesh.glb"
    MESH_PLY = "mesh.ply"

    @property
    def suffix(self) -> str:
        """What follows the first dot."""
        return self.value.partition(".")[2]


def write_result_file(folder: Path, kind: ResultFile, result: SegmentationResult, study: StudyVolume) -> Path:
    """A file of a result, written where it is not there yet.

    Parameters
    ----------
    folder : Path
        Folder of this result alone.
    kind : ResultFile
    result : SegmentationResult
    study : StudyVolume

    Returns
    -------
    Path

    Raises
    ------
    NotThereError
        If the map was not computed, or the object cannot be made of this study.
    OutputError
        If it cannot be written.
    """
    stem = kind.value.partition(".")[0]
    if kind.suffix == "nii.gz":
        path = folder / kind.value
        volume = getattr(result, stem)
        if volume is None:
            raise NotThereError(
                f"The result of {result.structure!r} has no {stem}: it was not asked for. Segment with samples, or "
                "with saliency."
            )
        return path if path.exists() else save_nifti(volume, path)
    is_mesh = stem == "mesh"
    path = folder / (f"meshes/{result.structure}.{kind.suffix}" if is_mesh else f"dicom/{kind.value}")
    if path.exists():
        return path
    notes: list[str] = []
    surfaces = surfaces_of({result.structure: result}, notes=notes) if is_mesh else None
    notes += write_objects(folder, {result.structure: result}, study=study, surfaces=surfaces)
    if not path.exists():
        why = " ".join(notes) or (
            "The mask is empty."
            if is_mesh
            else "DICOM objects need a study of DICOM files and a map that was asked for."
        )
        raise NotThereError(f"There is no {kind.value} of {result.structure!r}. {why}")
    return path
