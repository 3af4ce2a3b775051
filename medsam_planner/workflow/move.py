"""Carry masks, prompts, landmarks and plan files from one series of a patient onto another."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import highdicom
import numpy as np

from medsam_planner.errors import ConfigError, PlanningError
from medsam_planner.geometry import corner_indices, index_from_lps, lps_from_index
from medsam_planner.io import save_nifti
from medsam_planner.io.conservative_resampling import is_on_grid
from medsam_planner.io.files import write_whole
from medsam_planner.io.loading import load_map
from medsam_planner.io.output_folder import OutputFolder
from medsam_planner.landmarks.landmark_file import Landmark, Landmarks, read_landmarks, write_landmarks
from medsam_planner.planning.plan_file import read_plan_file
from medsam_planner.registration.rigid_transform import RigidTransform
from medsam_planner.registration.transform_file import SeriesRecord, read_transform
from prompts import Box, Click, Prompt, PromptFile, PromptLog, Provenance, Scribble, box_extent
from prompts.file import read_prompt_file, write_prompt_file

__all__ = ["Move", "move_files", "moved_mask", "moved_prompts"]

_TWO_OF_A_NAME = "Expected files of different names, got two that would be written as {}."


@dataclass(frozen=True, slots=True, eq=False)
class Move:
    """A transform and both of its series, in the direction in which things are carried."""

    transform: RigidTransform
    """From the source to the destination."""
    source: SeriesRecord
    destination: SeriesRecord

    @classmethod
    def read(cls, path: Path, *, back: bool = False) -> Move:
        """Read a ``transform.json``; from the moving series to the fixed one, or `back`.

        Raises
        ------
        ConfigError
        """
        recorded = read_transform(path)
        if back:
            return cls(recorded.transform.inverse, recorded.fixed, recorded.moving)
        return cls(recorded.transform, recorded.moving, recorded.fixed)


def moved_mask(mask: highdicom.Volume, move: Move) -> highdicom.Volume:
    """The same voxels at their place in the destination: the affine moves, nothing is resampled.

    Parameters
    ----------
    mask : (K, J, I) Volume
        A mask or map in the space of the source.
    move : Move

    Raises
    ------
    ConfigError
        If it lies on the destination's grid already, or outside the source.
    """
    here, there = (_geometry(one) for one in (move.source, move.destination))
    if is_on_grid(mask, there) and not is_on_grid(mask, here):
        raise ConfigError("Expected a mask of the series to move from, got one on the other's grid. Is --back meant?")
    index = index_from_lps(here.affine, lps_from_index(mask.affine, corner_indices(mask.spatial_shape)))
    if (index.max(axis=0) < -0.5).any() or (index.min(axis=0) > np.array(move.source.shape) - 0.5).any():
        raise ConfigError("Expected a mask of the series to move from, got one that lies outside it.")
    return highdicom.Volume(
        mask.array,
        move.transform.fixed_from_moving @ mask.affine,
        "PATIENT",
        frame_of_reference_uid=move.destination.frame_of_reference_uid,
    )


def moved_prompts(file: PromptFile, move: Move) -> PromptFile:
    """The prompts that hold, at their places in the destination.

    Choices among a model's candidates are not carried: another image has other candidates.

    Raises
    ------
    ConfigError
        If the file is of another study, or a structure has a mask or edits, which lie on voxels of the source.
    """
    stated = file.provenance.image_sha256
    if stated is not None and stated != move.source.sha256:
        raise ConfigError("Expected prompts of the series to move from, got those of another one. Is --back meant?")
    logs = []
    for log in file.logs:
        moved = PromptLog(log.structure)
        for prompt in log.prompts:
            moved.add(_moved_prompt(prompt, move, log.structure))
        logs.append(moved)
    there = move.destination
    provenance = Provenance(
        image_sha256=there.sha256,
        affine=tuple(tuple(row) for row in there.affine.tolist()),
        shape=there.shape,
        frame_of_reference_uid=there.frame_of_reference_uid,
    )
    return PromptFile(tuple(logs), provenance)


def move_files(
    transform: Path, files: Sequence[Path], out: Path, *, onto: Path | None = None, back: bool = False
) -> list[Path]:
    """Move files of any kind into a folder, and return what was written.

    Parameters
    ----------
    transform : Path
        ``transform.json``.
    files : sequence of Path
        Masks and maps (NIfTI), prompt files and landmark files (JSON), plan files (TOML).
    out : Path
    onto : Path, optional
        The destination's study, for plan files.
    back : bool
        From the fixed series to the moving one.

    Raises
    ------
    ConfigError, StudyError, PlanningError, OutputError
        If a file cannot be moved; nothing is written then.
    """
    move = Move.read(transform, back=back)
    writers: dict[str, Callable[[Path], object]] = {}
    for file in files:
        for name, writer in _writers(file, move, transform, onto).items():
            if name in writers:
                raise ConfigError(_TWO_OF_A_NAME.format(name))
            writers[name] = writer
    inputs = [transform, *files, *(() if onto is None else (onto,))]
    with OutputFolder(out, writers, inputs=inputs, replaces_all=False) as folder:
        for name, writer in writers.items():
            writer(folder / name)
    return [out / name for name in writers]


def _writers(file: Path, move: Move, transform: Path, onto: Path | None) -> dict[str, Callable[[Path], object]]:
    """By name in the results: what writes it. Everything is read and checked by now."""
    if not file.is_file():
        raise ConfigError(f"Expected a file to move, {file} is none.")
    if file.suffix == ".toml":
        return _plan_writers(file, move, transform, onto)
    if file.suffix == ".json":
        return {file.name: _json_writer(file, move)}
    if file.name.endswith((".nii", ".nii.gz")):
        moved = moved_mask(load_map(file), move)
        return {file.name: lambda path: save_nifti(moved, path)}
    raise ConfigError(
        f"Expected a NIfTI mask, a prompt or landmark file (JSON) or a plan file (TOML), got {file.name}. Write a "
        "DICOM segmentation as NIfTI first."
    )


def _json_writer(file: Path, move: Move) -> Callable[[Path], object]:
    if _is_landmark_file(file):
        moved = _moved_landmarks(read_landmarks(file), move)
        return lambda path: write_landmarks(path, moved)
    prompts = moved_prompts(read_prompt_file(file), move)
    return lambda path: write_prompt_file(path, prompts)


def _is_landmark_file(file: Path) -> bool:
    try:
        return "landmarks" in json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False  # reading it as a prompt file says what is wrong


def _moved_landmarks(landmarks: Landmarks, move: Move) -> Landmarks:
    if landmarks.image_sha256 not in (None, move.source.sha256):
        raise ConfigError("Expected landmarks of the series to move from, got those of another one. Is --back meant?")
    points = {
        name: Landmark(tuple(move.transform.apply(point.position_lps_mm).tolist()))
        for name, point in landmarks.points.items()
    }
    return Landmarks(points, move.destination.sha256)


def _plan_writers(file: Path, move: Move, transform: Path, onto: Path | None) -> dict[str, Callable[[Path], object]]:
    """The plan file with its points moved, comments kept, and every mask that it names."""
    import tomlkit

    if onto is None:
        raise ConfigError(f"Expected the study to move {file.name} onto: --onto STUDY.")
    plan_file = read_plan_file(file)  # every mistake is named there
    if plan_file.registration is not None:
        raise PlanningError(f"{file.name} holds a registration already. Move the plan file that it was made from.")
    text = tomlkit.parse(file.read_text(encoding="utf-8"))
    writers: dict[str, Callable[[Path], object]] = {}
    places: dict[str, Path] = {}

    def carried(stated: str) -> str:
        place = file.resolve().parent / stated
        if place.name not in places:
            places[place.name] = place
            writers.update(_writers(place, move, transform, onto))
        elif place.resolve() != places[place.name].resolve():
            raise ConfigError(_TWO_OF_A_NAME.format(place.name))
        return place.name

    for structure in text.get("structures", []):
        if "calibration" in structure:
            raise PlanningError(
                f"structures[{structure.get('name')}].calibration: a calibrated margin holds on the series that was "
                "segmented. Segment the other series, or state base_margin_mm."
            )
        for key in ("mask", "spread"):
            if key in structure:
                structure[key] = carried(str(structure[key]))
    ends = [text, *text.get("tools", [])]
    for table in ends:
        for end, key in (("target", "point_lps_mm"), ("entry", "centre_lps_mm")):
            part = table.get(end)
            if isinstance(part, dict):
                if key in part:
                    part[key] = [round(value, 6) for value in move.transform.apply(list(part[key])).tolist()]
                if "mask" in part:
                    part["mask"] = carried(str(part["mask"]))
    if "landmarks" in text:
        text["landmarks"] = carried(str(text["landmarks"]))
    text["study"] = {"path": str(onto.resolve())}
    rendered = f"registration = {json.dumps(str(transform.resolve()))}\n{tomlkit.dumps(text)}"
    if file.name in writers:
        raise ConfigError(f"Expected masks of other names than {file.name}.")
    writers[file.name] = lambda path: write_whole(path, rendered)
    return writers


def _moved_prompt(prompt: Prompt, move: Move, structure: str) -> Prompt:
    if isinstance(prompt, Click):
        return Click(move.transform.apply(prompt.position_lps_mm), prompt.positive)
    if isinstance(prompt, Scribble):
        return Scribble(move.transform.apply(prompt.positions_lps_mm), prompt.positive)
    if isinstance(prompt, Box):
        return _moved_box(prompt, move)
    raise ConfigError(
        f"The prompts of '{structure}' hold a mask or an edit, which lie on voxels of the series they were drawn on. "
        "Move the mask itself, and begin from it (--begin-from)."
    )


def _moved_box(box: Box, move: Move) -> Box:
    """The box around the moved corners along the destination's axes; on its nearest slice if it was on one."""
    extent = box_extent(box, move.source.affine, move.source.shape)
    low, high = (np.array([getattr(one, end) for one in extent.slices]) for end in ("start", "stop"))
    corners = corner_indices(high - low) + low
    places = move.transform.apply(lps_from_index(move.source.affine, corners))
    index = index_from_lps(move.destination.affine, places)
    first, last = np.floor(index.min(axis=0) + 0.5), np.ceil(index.max(axis=0) - 0.5)
    thin = np.flatnonzero(high - low == 1)
    if len(thin):
        normal = move.transform.turn(move.source.affine[:3, thin[0]])
        axes = move.destination.affine[:3, :3] / np.linalg.norm(move.destination.affine[:3, :3], axis=0)
        across = int(np.argmax(np.abs(normal @ axes)))
        first[across] = last[across] = np.rint(index[:, across].mean())
    limit = np.array(move.destination.shape) - 1
    if (last < 0).any() or (first > limit).any():
        raise ConfigError("Expected boxes that lie in both series, got one that lies outside the other one when moved.")
    ends = lps_from_index(move.destination.affine, np.clip(np.stack([first, np.maximum(first, last)]), 0, limit))
    return Box(ends[0], ends[1])


def _geometry(record: SeriesRecord) -> highdicom.VolumeGeometry:
    return highdicom.VolumeGeometry(affine=record.affine, spatial_shape=record.shape, coordinate_system="PATIENT")
