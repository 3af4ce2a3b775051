"""What the controls of the Export tab do, free of Gradio: a workbench and values in, a screen out."""

from __future__ import annotations

from collections.abc import Sequence

from medsam_planner.errors import ConfigError
from medsam_planner.progress import Progress
from medsam_planner.service import results
from medsam_planner.service.core.packing import ExportChoice
from medsam_planner.service.workbench import Workbench
from medsam_planner.workflow.export_archive import Content
from ui import wording
from ui.run_change import attempt
from ui.screen import Screen

__all__ = ["pack"]


def pack(
    workbench: Workbench,
    contents: Sequence[str] = (Content.RESULTS.value,),
    *,
    ignores_unreviewed: bool = False,
    progress: Progress | None = None,
) -> Screen:
    """Write what is chosen and pack it for download.

    Parameters
    ----------
    workbench : Workbench
    contents : sequence of str
        Values of :class:`~medsam_planner.workflow.export_archive.Content`.
    ignores_unreviewed : bool
        Whether the labels for nnU-Net say ``ignore`` on slices that nobody has looked at.
    progress : Progress, optional
    """
    notes: tuple[str, ...] = ()

    def change() -> str:
        nonlocal notes
        known = [content.value for content in Content]
        if not contents or not set(contents) <= set(known):
            raise ConfigError(f"Choose what to export: at least one of {', '.join(known)}.")
        choice = ExportChoice(
            tuple(content for content in Content if content.value in contents),
            ignores_unreviewed=bool(ignores_unreviewed),
        )
        notes = results.pack(workbench, choice, progress=progress)
        return wording.DOWNLOAD_READY

    return attempt(workbench, change, notes=lambda: notes, is_long=True)
