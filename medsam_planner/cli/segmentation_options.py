"""From the options that `segment` and `run` share to a checked :class:`SegmentationJob`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medsam_planner.workflow.dicom_results import OutputOptions
    from medsam_planner.workflow.segmentation_job import SegmentationJob

__all__ = ["output_options", "segmentation_job"]


def segmentation_job(parameters: Mapping[str, Any]) -> SegmentationJob:
    """Check the options of a command and read its prompt file.

    Parameters
    ----------
    parameters : mapping
        Values of the command's parameters by name, as typer's context holds them: ``study``, ``prompts``,
        ``begin_from``, and options named like the fields of ``SegmentationOptions`` and ``ReadingOptions``.

    Raises
    ------
    PromptError, WeightsError
        As :meth:`medsam_planner.workflow.segmentation_job.SegmentationJob.from_files`.
    """
    from medsam_planner.workflow.segment import SegmentationOptions
    from medsam_planner.workflow.segmentation_job import SegmentationJob
    from medsam_planner.workflow.study_reading import ReadingOptions

    def given(kind: type) -> dict[str, Any]:
        return {field.name: parameters[field.name] for field in fields(kind) if field.name in parameters}

    return SegmentationJob.from_files(
        parameters["study"],
        parameters["prompts"],
        SegmentationOptions(**given(SegmentationOptions)),
        ReadingOptions(**given(ReadingOptions)),
        begin_from=[Path(text) for text in parameters["begin_from"] or ()],
    )


def output_options(encoding: str, *, rtstruct: bool, paths: bool) -> OutputOptions:
    """Choices about the files of a run.

    Raises
    ------
    ConfigError
        If the encoding is unknown.
    """
    from medsam_planner.errors import ConfigError
    from medsam_planner.io.objects.segmentation import SegmentEncoding
    from medsam_planner.workflow.dicom_results import OutputOptions

    known = {"auto": None, **{one.value.lower(): one for one in SegmentEncoding}}
    if encoding.lower() not in known:
        raise ConfigError(f"Expected --seg-encoding {', '.join(known)}, got '{encoding}'.")
    return OutputOptions(known[encoding.lower()], rtstruct, paths)
