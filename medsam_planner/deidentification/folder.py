"""De-identify a folder, file by file: nothing of the input is changed, and an interrupted run is taken up again."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medsam_planner.deidentification.file_facts import FileFacts, read_facts
from medsam_planner.deidentification.one_file import HEAD, Outcome, Task, deidentify_file
from medsam_planner.deidentification.profile import Profile
from medsam_planner.deidentification.pseudonyms import Pseudonyms
from medsam_planner.deidentification.report import Deidentified, begin_report, finish_report
from medsam_planner.errors import StudyError
from medsam_planner.io.archive import unpack_archive
from medsam_planner.io.files import file_sha256
from medsam_planner.io.output_folder import alone_in, open_run_folder, require_apart
from medsam_planner.io.parallel import parallel_map
from medsam_planner.io.study_files import iterate_files
from medsam_planner.progress import Progress, track
from prompts.whole_file import is_partial

__all__ = ["deidentify"]


def deidentify(
    place: Path,
    out: Path,
    profile: Profile,
    pseudonyms: Pseudonyms,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> Deidentified:
    """De-identify every DICOM file under `place` into `out`, in folders of pseudonyms.

    Parameters
    ----------
    place : Path
        A folder, searched to the bottom, or one file. Zips are unpacked to the system's temporary folder meanwhile.
    out : Path
        A folder outside `place`, new or of an earlier call with the same key and options: files that it wrote are
        not written again.
    profile : Profile
    pseudonyms : Pseudonyms
    workers : int
        Processes that work at the same time.
    progress : Progress, optional

    Returns
    -------
    Deidentified
        The same, without names of files, is written to ``deidentification.json``.

    Raises
    ------
    StudyError
        If there is no DICOM file at `place` that can be cleaned.
    OutputError
        If `out` lies in `place` or the other way round, holds other files, or cannot be written.
    ConfigError
        If `out` was written with another key or other options.
    """
    if not place.exists():
        raise StudyError(f"Expected a folder or a DICOM file to de-identify; {place} does not exist.")
    require_apart(out, [place])
    if out.is_dir():
        require_apart(place, [out])
    with alone_in(open_run_folder(out)):
        return _deidentified(place, out, profile, pseudonyms, workers, progress)


def _deidentified(
    place: Path, out: Path, profile: Profile, pseudonyms: Pseudonyms, workers: int, progress: Progress | None
) -> Deidentified:
    begin_report(out, profile, pseudonyms)
    _sweep(out)
    with tempfile.TemporaryDirectory(prefix="medsam-planner-") as unpacked:
        files, damaged = _files(place, Path(unpacked))
        return _files_deidentified(place, files, damaged, out, profile, pseudonyms, workers, progress)


def _files_deidentified(
    place: Path,
    files: Sequence[tuple[Path, str]],
    damaged: Sequence[tuple[str, str]],
    out: Path,
    profile: Profile,
    pseudonyms: Pseudonyms,
    workers: int,
    progress: Progress | None,
) -> Deidentified:
    facts: list[FileFacts] = []
    words: dict[tuple[str, str], set[str]] = {}
    for one in track(parallel_map(_read, files, workers=workers), "Reading headers", progress, total=len(files)):
        words.setdefault((one.patient_id, one.study_uid), set()).update(one.identifiers)
        facts.append(replace(one, identifiers=frozenset()))  # an archive has more files than memory has room for words
    if all(one.dropped for one in facts):
        kinds = ", ".join([*sorted({one.dropped for one in facts}), *(why for _, why in damaged)]) or "nothing"
        raise StudyError(f"Expected DICOM files to de-identify in {place}, found only: {kinds}.")
    tasks, refused = _tasks(facts, words, out, profile, pseudonyms)
    cleaned = parallel_map(deidentify_file, tasks, workers=workers, lost=_lost)
    outcomes = list(track(cleaned, "De-identifying", progress, total=len(tasks)))
    done = _summary(out, facts, outcomes, [*damaged, *refused], len(damaged))
    finish_report(done, profile, pseudonyms, sum((one.counts for one in outcomes), Counter()))
    return done


def _files(place: Path, folder: Path) -> tuple[list[tuple[Path, str]], list[tuple[str, str]]]:
    """Files with their names, those in zips unpacked to `folder`; name and reason of each zip that cannot be read."""
    files: list[tuple[Path, str]] = []
    damaged = []
    for path, name in [(place, place.name)] if place.is_file() else iterate_files(place):
        if not _is_zip(path):
            files.append((path, name))
            continue
        try:
            own = Path(tempfile.mkdtemp(dir=folder))
            files += [(member, f"{name}/{inner}") for member, inner in unpack_archive(path, own)]
        except StudyError as error:
            damaged.append((name, str(error).rstrip(".")))
    return files, damaged


def _is_zip(path: Path) -> bool:
    """Whether a file begins as a zip does; DICOM with a zip behind it does not, and one that cannot be read is left."""
    try:
        with path.open("rb") as stream:
            return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except OSError:
        return False


def _lost(task: Task) -> Outcome:
    return Outcome(
        task.facts.name, "refused", "the process that cleaned it ended (a decoder crashed, or memory ran out)"
    )


def _read(file: tuple[Path, str]) -> FileFacts:
    return read_facts(*file)


def _tasks(
    facts: Sequence[FileFacts],
    words: Mapping[tuple[str, str], set[str]],
    out: Path,
    profile: Profile,
    pseudonyms: Pseudonyms,
) -> tuple[list[Task], list[tuple[str, str]]]:
    """Tasks of the files that can be cleaned; the names and reasons of the others."""
    refused = [(one.name, one.refused) for one in facts if one.refused]
    usable = [one for one in facts if not one.refused and not one.dropped]
    patient_by_study = {one.study_uid: one.patient_id for one in usable if one.patient_id and one.study_uid}
    identifiers: dict[str, set[str]] = {}
    known: dict[str, FileFacts] = {}
    tasks: list[tuple[FileFacts, str]] = []
    for one in usable:
        patient = one.patient_id or patient_by_study.get(one.study_uid) or f"study {one.study_uid}"
        identifiers.setdefault(patient, set()).update(words[one.patient_id, one.study_uid])
        twin = known.setdefault(one.instance_uid, one) if one.instance_uid else one
        if twin is one:
            tasks.append((one, patient))
        elif file_sha256(twin.path) != file_sha256(one.path):
            refused.append((one.name, f"it has the SOPInstanceUID of {twin.name} and another content"))
    every = {patient: frozenset(words) for patient, words in identifiers.items()}
    return [Task(one, patient, every[patient], out, profile, pseudonyms) for one, patient in tasks], refused


def _summary(
    out: Path,
    facts: Sequence[FileFacts],
    outcomes: Sequence[Outcome],
    refused: Sequence[tuple[str, str]],
    damaged: int,
) -> Deidentified:
    """What was done; `damaged` of those refused are zips, which have no facts."""
    left_out = Counter(one.dropped for one in facts if one.dropped)
    states = Counter(one.state for one in outcomes)
    not_written = (*refused, *((one.name, one.reason) for one in outcomes if one.state == "refused"))
    copies = len(facts) - len(outcomes) - (len(refused) - damaged) - sum(left_out.values())
    if copies:
        left_out["copy of another file"] = copies
    heads = sum(one.is_head for one in outcomes)
    warnings = [f"{heads} files are {HEAD}"] if heads else []
    warnings += [f"{count} files left out: {kind}." for kind, count in sorted(left_out.items())]
    return Deidentified(
        out=out,
        counts={
            "written": states["written"],
            "already there": states["already there"],
            "left out": sum(left_out.values()),
            "refused": len(not_written),
        },
        left_out=dict(left_out),
        refused=not_written,
        warnings=tuple(warnings),
    )


def _sweep(out: Path) -> None:
    """Remove half-written files of a run that was killed."""
    for parent, _, names in os.walk(out):
        for name in names:
            if is_partial(name):
                Path(parent, name).unlink(missing_ok=True)
