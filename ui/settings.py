"""What the person who starts the workbench decides."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medsam_planner.errors import StudyError

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Fixed for the life of the server."""

    out: Path
    """Run folders are made in it."""
    model: str = "compact"
    study: Path | None = None
    """Opened in every new page."""
    roots: tuple[Path, ...] = ()
    """Folders from which studies may be opened by a typed path; the temporary folder of uploads is always one."""
    seed: int = 0

    def allowed(self, text: str, *, uploads: Sequence[Path] = ()) -> Path:
        """The path a person typed, if it lies where studies may be read.

        Raises
        ------
        StudyError
            If nothing was typed, the path leaves the allowed folders (also by a link), or nothing is there.
        """
        cleaned = text.strip().strip('"').strip("'")
        if not cleaned:
            raise StudyError("Expected the path of a study: a DICOM folder, a zip, a DICOM file or a NIfTI file.")
        path = Path(cleaned).expanduser()
        roots = [root.resolve() for root in (*self.roots, *uploads, *((self.study,) if self.study else ()))]
        real = path.resolve()
        if not any(real == root or root in real.parents for root in roots):
            listed = ", ".join(str(root) for root in self.roots) or "none"
            raise StudyError(
                f"This workbench may only read studies below: {listed}. {path} lies elsewhere. "
                "Upload the study, or restart with --allow FOLDER."
            )
        if not path.exists():
            raise StudyError(f"Nothing is at {path}. Check the path for a typing error.")
        return path


def upload_root() -> Path:
    """Where Gradio puts uploaded files."""
    import os

    return Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio")
