"""Settings of the server, fixed when it is started."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medsam_planner.errors import StudyError
from medsam_planner.io.patient_identity import NAMELESS
from medsam_planner.io.study_files import name_files, walk_files
from medsam_planner.network.pacs_file import PacsFile
from medsam_planner.service.uploads import is_upload

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the server."""

    out: Path
    """Data folder of the server: studies, sessions, results."""
    model: str = "compact"
    engine: str = "auto"
    """What computes the embeddings of `model`."""
    study: Path | None = None
    """Study opened in every new page."""
    roots: tuple[Path, ...] = ()
    """Folders from which studies may be opened by path. Beside these only `study` may."""
    seed: int = 0
    pacs: PacsFile | None = None
    """Nodes that pages may ask and send to; None where the server has no PACS."""
    project: Path | None = None
    """Folder of the annotation project that clients work on; None where there is none."""
    is_identified: bool | None = None
    """Whether reports and pages name the patient; None leaves it to each study's files."""

    @property
    def embeddings(self) -> Path:
        """Folder of embeddings, for all workers."""
        return self.out / "embeddings"

    def engine_of(self, model: str) -> str:
        """The engine of a model; other models than the server's get what `auto` chooses for them."""
        return self.engine if model == self.model else "auto"

    @property
    def study_name(self) -> str:
        """What a page calls `study`: its file's name, where that may be shown; empty without one."""
        if self.study is None:
            return ""
        return NAMELESS if self.is_identified is False else self.study.name

    def allowed(self, text: str) -> Path:
        """The path a person typed, if studies may be read there.

        A relative path is looked up in the roots first, so that a person need not know where those are; the name of
        `study` stands for `study`.

        Raises
        ------
        StudyError
            If nothing was typed, the path or a file of the study lies outside the allowed folders (also through a
            link), or does not exist.
        """
        cleaned = text.strip().strip('"').strip("'")
        if not cleaned:
            raise StudyError("Expected the path of a study: a DICOM folder, a zip, a DICOM file or a NIfTI file.")
        try:
            inside = [path for path in self._meant(cleaned) if self._may_read(path)]
            found = next((path for path in inside if path.exists()), None)
        except (OSError, RuntimeError, ValueError) as error:  # no permission, a loop of links, no path at all
            raise StudyError(f"{cleaned} cannot be read. Check the path.") from error
        if found is not None:
            self._refuse_links_outside(found)
            return found
        if inside:
            raise StudyError(f"{cleaned} does not exist. Check the path.")
        named = [path.name for path in (*self.roots, *((self.study,) if self.study else ()))]
        where = f"in: {', '.join(named)}" if named else "that are uploaded: no folder was allowed when it was started"
        raise StudyError(
            f"This server may only read studies {where}. {cleaned} is outside. "
            "Upload the study, or restart with --allow FOLDER."
        )

    def _meant(self, text: str) -> Iterator[Path]:
        if self.study is not None and text in (self.study.name, self.study_name):
            yield self.study
        path = Path(text).expanduser()
        if not path.is_absolute():
            yield from (root / path for root in self.roots)
        yield path

    def _refuse_links_outside(self, path: Path) -> None:
        if self.study is not None and path.resolve() == self.study.resolve():
            return  # this very study was named when the server was started
        outside = [name for file, name in _files_of(path) if file.is_symlink() and not self._leads_inside(file)]
        if outside:
            raise StudyError(
                f"{path.name} contains links to files outside the folders this server may read: {name_files(outside)}. "
                "Copy the files themselves into the folder, or upload the study."
            )

    def _leads_inside(self, link: Path) -> bool:
        try:
            return self._may_read(link)
        except (OSError, RuntimeError):  # a loop of links
            return False

    def _may_read(self, path: Path) -> bool:
        real = path.resolve()
        roots = [root.resolve() for root in (*self.roots, *((self.study,) if self.study else ()))]
        return not is_upload(real) and any(real == root or root in real.parents for root in roots)


def _files_of(path: Path) -> list[tuple[Path, str]]:
    """Every file that reading the study may open, and its name: also the .img beside a NIfTI header."""
    if path.is_dir():
        return walk_files(path)
    try:
        return [(one, one.name) for one in path.parent.iterdir() if one.name.lower().endswith((".img", ".img.gz"))]
    except OSError:  # a folder that may be passed and not listed: no .img is found there either
        return []
