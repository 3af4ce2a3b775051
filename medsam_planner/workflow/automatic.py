"""The mask that an automatic network finds in a study, as a file to begin from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medsam_planner.engine.automatic_network import AutomaticNetwork
from medsam_planner.errors import ConfigError, EmptyStructureError
from medsam_planner.geometry import volume_ml
from medsam_planner.io import save_nifti
from medsam_planner.progress import Progress
from medsam_planner.volumes import StudyVolume, volume_like
from medsam_planner.workflow.study_reading import ReadingOptions, read_study

__all__ = ["AutomaticMask", "write_automatic_mask"]


@dataclass(frozen=True, slots=True, eq=False)
class AutomaticMask:
    """What a network found in a study."""

    study: StudyVolume
    label: str
    """The structure."""
    volume_ml: float
    cautions: list[str]
    """Ways in which the study is unlike the cases of the network."""


def write_automatic_mask(
    study_path: Path, model: Path, out: Path, reading: ReadingOptions, *, progress: Progress | None = None
) -> AutomaticMask:
    """Segment a study with an automatic network, and write the mask on the study's voxels.

    Parameters
    ----------
    study_path : Path
        DICOM folder, zip or file, or NIfTI.
    model : Path
        File of ``medsam-planner train-auto``.
    out : Path
        Ends in ``.nii.gz``; not the study or the model.
    reading : ReadingOptions
    progress : Progress, optional

    Raises
    ------
    WeightsError
        If the model is absent, damaged or no automatic network.
    StudyError
        If the study is not one regular volume.
    EmptyStructureError
        If the network finds nothing; nothing is written.
    ConfigError
        If `out` has another suffix, or would replace the study.
    """
    if not out.name.endswith(".nii.gz"):
        raise ConfigError(f"Expected a file MASK.nii.gz, got {out}.")
    if out.resolve() in (study_path.resolve(), model.resolve()):
        raise ConfigError(f"Expected a new file for the mask, {out} is the study or the network. Name another one.")
    network = AutomaticNetwork.load(model)
    study = read_study(study_path, reading, progress=progress)
    mask, cautions = network.mask(study), network.cautions(study)
    if not mask.any():
        raise EmptyStructureError(
            " ".join([f"The network finds no {network.card.label} in {study_path}. Begin with a box.", *cautions])
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    save_nifti(volume_like(study, mask), out)
    return AutomaticMask(study, network.card.label, volume_ml(mask, study.affine), cautions)
