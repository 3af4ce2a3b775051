"""Unpack the zip of a study safely.

Members are written under numbers of our own, so no member name can reach outside the folder; sizes are counted while
they are written, not believed from the archive's table.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path, PurePosixPath

from medsam_planner.errors import StudyError
from medsam_planner.io.unpacking import MAX_MEMBERS, MAX_UNPACKED_BYTES, most_unpacked_bytes, refuse_bomb
from medsam_planner.progress import Progress, track

__all__ = ["unpack_archive"]

_CHUNK_BYTES = 1 << 20


def unpack_archive(
    path: Path, folder: Path, *, max_bytes: int = MAX_UNPACKED_BYTES, progress: Progress | None = None
) -> list[tuple[Path, str]]:
    """Unpack the files of the zip at `path` into `folder`.

    Returns
    -------
    list of (path, name)
        Where each member was written, and its name in the archive.

    Raises
    ------
    StudyError
        If the archive is damaged, encrypted, larger than `max_bytes` unpacked, of more than ``MAX_MEMBERS`` files, far
        larger than packed (:mod:`medsam_planner.io.unpacking`), or names files outside itself.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) > MAX_MEMBERS:
                raise StudyError(
                    f"Expected one study of at most {MAX_MEMBERS} files in {path.name}, found {len(members)}. Pack the "
                    "folder of one series."
                )
            _refuse_unsafe(members, path)
            stated, packed = sum(member.file_size for member in members), path.stat().st_size
            refuse_bomb(path.name, packed_bytes=packed, unpacked_bytes=stated, at_most=max_bytes)
            return _write_members(archive, members, folder, most_unpacked_bytes(packed, at_most=max_bytes), progress)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        if isinstance(error, StudyError):
            raise
        raise StudyError(
            f"The archive {path.name} cannot be unpacked: {error}. It is truncated or damaged; copy it again."
        ) from error


def _refuse_unsafe(members: list[zipfile.ZipInfo], path: Path) -> None:
    for member in members:
        name = member.filename.replace("\\", "/")
        if name.startswith("/") or ".." in PurePosixPath(name).parts or ":" in name.split("/")[0]:
            raise StudyError(
                f"The archive {path.name} names a file outside itself ('{member.filename}'); "
                "this looks like a malicious archive, so nothing was unpacked."
            )
        if member.flag_bits & 0x1:
            raise StudyError(f"'{member.filename}' in {path.name} is encrypted. Unpack it and name the folder.")


def _write_members(
    archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], folder: Path, max_bytes: int, progress: Progress | None
) -> list[tuple[Path, str]]:
    written: list[tuple[Path, str]] = []
    total = 0
    for number, member in enumerate(track(members, "Unpacking", progress)):
        # nibabel goes by the ending, everything else by the content.
        ending = ".nii.gz" if member.filename.endswith(".gz") else ".nii" if member.filename.endswith(".nii") else ""
        target = folder / f"{number:06d}{ending}"
        with archive.open(member) as packed, target.open("xb") as out:
            while chunk := packed.read(_CHUNK_BYTES):
                total += len(chunk)
                if total > max_bytes:
                    raise StudyError(f"{Path(str(archive.filename)).name} unpacks to more than its table says.")
                out.write(chunk)
        written.append((target, member.filename))
    return written
