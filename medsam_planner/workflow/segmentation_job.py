"""A study and a prompt file to segment, checked before anything long is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medsam_planner.engine.registry import require_weights
from medsam_planner.errors import ConfigError, PromptError
from medsam_planner.io.output_folder import OutputFolder
from medsam_planner.io.segment_path import mask_file
from medsam_planner.progress import Progress
from medsam_planner.propagation.sources import check_planes, source_named
from medsam_planner.volumes import StudyVolume
from medsam_planner.workflow.dicom_results import OutputOptions
from medsam_planner.workflow.initial_masks import begun_logs
from medsam_planner.workflow.segment import SegmentationOptions, Segmented, segment_into
from medsam_planner.workflow.study_reading import ReadingOptions, read_study
from prompts import PromptFile, PromptLog, read_prompt_file, validate_file
from prompts.by_hand import notes_on_initial_mask
from prompts.names import require_free
from prompts.shapes import locates

__all__ = ["SegmentationJob", "check_options"]


@dataclass(frozen=True, slots=True)
class SegmentationJob:
    """What to segment, and how. The prompt file has been read; the study has not."""

    study_path: Path
    prompts_path: Path
    prompt_file: PromptFile
    logs: tuple[PromptLog, ...]
    """Of the structures that have prompts."""
    options: SegmentationOptions
    reading: ReadingOptions
    notes: tuple[str, ...] = ()
    """One sentence for each structure that is left out."""
    begin_from: tuple[Path, ...] = ()
    """Masks from which structures begin, before their prompts; each may name a segment (``seg.dcm:liver``)."""

    @classmethod
    def from_files(
        cls,
        study_path: Path,
        prompts_path: Path,
        options: SegmentationOptions,
        reading: ReadingOptions,
        *,
        begin_from: Sequence[Path] = (),
    ) -> SegmentationJob:
        """Check the options and read the prompt file.

        Parameters
        ----------
        study_path : Path
            DICOM folder, zip or file, or NIfTI.
        prompts_path : Path
            Prompt file (JSON).
        options : SegmentationOptions
        reading : ReadingOptions
        begin_from : sequence of Path, optional
            Masks from which structures begin.

        Raises
        ------
        ConfigError
            If a mask to begin from is absent.
        PromptError
            If the source of uncertainty is unknown or needs propagation across three planes, no structure has a prompt,
            the prompts of one do not say where it is, or one has a name that the planner reserves.
        WeightsError
            If the weights are unknown, absent or damaged.
        """
        check_options(options)
        prompt_file = read_prompt_file(prompts_path)
        if absent := [path for path in begin_from if not mask_file(path).exists()]:
            raise ConfigError(f"The mask to begin from does not exist: {absent[0]}. Name a file, or FILE:SEGMENT.")
        logs, notes = _prompted_logs(prompt_file, prompts_path, must_locate=not begin_from)
        return cls(study_path, prompts_path, prompt_file, logs, options, reading, notes, tuple(begin_from))

    @property
    def structures(self) -> list[str]:
        """Names of the structures to segment."""
        return [log.structure for log in self.logs]

    @property
    def inputs(self) -> list[Path]:
        """Files that results must not replace."""
        masks = [mask_file(path) for path in self.begin_from]
        return [self.study_path, self.prompts_path, Path(self.options.model), *masks]

    def read_study(self, progress: Progress | None = None) -> StudyVolume:
        """Read the study and check the prompts against its grid.

        Raises
        ------
        StudyError
            If it is not one regular scalar volume.
        PromptError
            If a prompt lies outside it.
        """
        study = read_study(self.study_path, self.reading, progress=progress)
        validate_file(
            self.prompt_file, study.affine, study.spatial_shape, frame_of_reference_uid=study.frame_of_reference_uid
        )
        return study

    def segment(
        self,
        study: StudyVolume,
        out: OutputFolder,
        progress: Progress | None = None,
        output: OutputOptions | None = None,
    ) -> Segmented:
        """Segment every structure and write its masks, maps and log.

        DICOM objects and meshes are left to :func:`medsam_planner.workflow.segment.write_segmented_objects`.

        Raises
        ------
        StudyError, GeometryError, PromptError
            If a mask to begin from cannot be read, is not on the study's voxels, or belongs to no structure.
        """
        logs = begun_logs(self.logs, self.begin_from, study)
        begun = [f"{log.structure}: {note}" for log in logs for note in notes_on_initial_mask(log)]
        notes = (*self.notes, *begun)
        return segment_into(out, study, logs, self.options, notes=notes, output=output, progress=progress)


def check_options(options: SegmentationOptions) -> None:
    """Find what is wrong with the options before anything is read.

    Raises
    ------
    PromptError
        If the source of uncertainty is unknown, or needs propagation across three planes.
    WeightsError
        If the weights are unknown, absent or damaged, or the engine is unknown or has no export of them.
    """
    source = source_named(options.uncertainty)
    if options.samples:
        check_planes(source, triplanar=options.triplanar)
    require_weights(options.model, engine=options.engine)


def _prompted_logs(
    prompt_file: PromptFile, path: Path, *, must_locate: bool
) -> tuple[tuple[PromptLog, ...], tuple[str, ...]]:
    """Logs of the structures of a prompt file that have prompts, and a note on each that has none."""
    prompted = tuple(log for log in prompt_file.logs if log.prompts)
    empty = [log.structure for log in prompt_file.logs if not log.prompts]
    if not prompted:
        raise PromptError(
            f"{path}: expected a prompt, got only undone or cleared prompts (structures: {', '.join(empty)}). "
            "Draw a box on the middle slice of a structure."
        )
    for log in prompted:
        require_free(log.structure)
        if must_locate and not any(locates(prompt) for prompt in log.prompts):
            raise PromptError(
                f"{path}: {log.structure!r}: expected a box, a positive click or scribble that says where the "
                f"structure is, got {len(log.prompts)} prompts without one."
            )
    return prompted, tuple(f"'{name}' has no prompts in {path.name} and was left out." for name in empty)
