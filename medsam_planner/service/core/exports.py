"""Files of a 3D result, written when they are first asked for: NIfTI, DICOM objects, meshes."""

from __future__ import annotations

import hashlib
import json
from enum import Enum
from pathlib import Path

from medsam_planner.errors import NotThereError
from medsam_planner.io import save_nifti
from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.volumes import StudyVolume
from medsam_planner.workflow.dicom_results import OutputOptions, StructureLook, map_name
from medsam_planner.workflow.run_folder import write_objects
from medsam_planner.workflow.segment import surfaces_of

__all__ = ["ResultFile", "named_folder", "write_result_file"]


class ResultFile(Enum):
    """The files of a 3D result by their names."""

    MASK = "mask.nii.gz"
    PROBABILITY = "probability.nii.gz"
    UNCERTAINTY = "uncertainty.nii.gz"
    MUTUAL_INFORMATION = "mutual_information.nii.gz"
    BOUNDARY_SPREAD = "boundary_spread_mm.nii.gz"
    SALIENCY = "saliency.nii.gz"
    SEGMENTATION_DICOM = "seg.dcm"
    PROBABILITY_DICOM = "probability.dcm"
    UNCERTAINTY_DICOM = "uncertainty.dcm"
    MUTUAL_INFORMATION_DICOM = "mutual_information.dcm"
    BOUNDARY_SPREAD_DICOM = "boundary_spread_mm.dcm"
    SALIENCY_DICOM = "saliency.dcm"
    MESH_STL = "mesh.stl"
    MESH_GLB = "mesh.glb"
    MESH_PLY = "mesh.ply"

    @property
    def stem(self) -> str:
        """The name of the map, or ``"mesh"``."""
        return self.value.partition(".")[0]

    @property
    def suffix(self) -> str:
        """What follows the first dot."""
        return self.value.partition(".")[2]

    def path(self, folder: Path, structure: str, look: StructureLook) -> Path:
        """Where it lies in the folder of one result: what states name and codes lies in a folder of these, so that it
        is written anew when they change."""
        if self.suffix == "nii.gz":
            return folder / self.value
        place = named_folder(folder, structure, look)
        if self.stem == "mesh":
            return place / f"meshes/{structure}.{self.suffix}"
        is_map = self is not ResultFile.SEGMENTATION_DICOM
        return place / (map_name(self.stem, structure) if is_map else self.value)


def named_folder(folder: Path, structure: str, look: StructureLook) -> Path:
    """Folder of the files of a result that state the name, colour or codes of its structure."""
    stated = json.dumps([structure, look.colour, look.anatomy])
    return folder / f"as-{hashlib.sha256(stated.encode()).hexdigest()[:16]}"


def write_result_file(
    folder: Path, kind: ResultFile, result: SegmentationResult, study: StudyVolume, look: StructureLook
) -> None:
    """Write a file of a result, and what is made in the same go.

    Parameters
    ----------
    folder : Path
        Folder of this result alone.
    kind : ResultFile
    result : SegmentationResult
        Under the name that it is to have.
    study : StudyVolume
    look : StructureLook

    Raises
    ------
    NotThereError
        If the map was not computed, or the object cannot be made of this study.
    OutputError
        If it cannot be written.
    """
    structure, path = result.structure, kind.path(folder, result.structure, look)
    if kind.suffix == "nii.gz":
        volume = getattr(result, kind.stem)
        if volume is None:
            raise NotThereError(
                f"The result of {structure!r} has no {kind.stem}: it was not asked for. Segment with samples, or with "
                "saliency."
            )
        save_nifti(volume, path)
        return
    is_mesh, notes = kind.stem == "mesh", list[str]()
    surfaces = surfaces_of({structure: result}, notes=notes) if is_mesh else None
    place = named_folder(folder, structure, look)
    place.mkdir(exist_ok=True)
    options = OutputOptions(looks={structure: look})
    notes += write_objects(place, {structure: result}, study=study, surfaces=surfaces, options=options)
    if not path.exists():
        needed = "The mask is empty." if is_mesh else "It needs a study of DICOM files, and a map that was asked for."
        raise NotThereError(f"There is no {kind.value} of {structure!r}. {' '.join(notes) or needed}")
