"""``transform.json``: a registration with the hashes of both series; strict JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import ConfigError, GeometryError, PromptError
from medsam_planner.io.files import write_json
from medsam_planner.provenance import versions
from medsam_planner.registration.register import Registration
from medsam_planner.registration.rigid_error import RigidError
from medsam_planner.registration.rigid_transform import RigidTransform
from medsam_planner.volumes import source_of, volume_sha256
from prompts.json_text import parse_json
from prompts.strict import Node
from prompts.text_file import read_text_file

__all__ = ["RecordedRegistration", "SeriesRecord", "read_transform", "transform_document", "write_transform"]

_HEAD: dict[str, str | int] = {
    "kind": "medsam-planner registration",
    "schema_version": 1,
    "frame": "LPS",
    "unit": "mm",
    "direction": "p_fixed = fixed_from_moving * p_moving",
}


@dataclass(frozen=True, slots=True, eq=False)
class SeriesRecord:
    """What a transform says of one of its series."""

    sha256: str
    affine: NDArray[np.float64]
    """(4, 4) index → LPS mm."""
    shape: tuple[int, int, int]
    series_instance_uid: str | None = None
    frame_of_reference_uid: str | None = None

    @classmethod
    def of(cls, volume: highdicom.Volume) -> SeriesRecord:
        """The record of a volume."""
        source = source_of(volume)
        k, j, i = (int(count) for count in volume.spatial_shape)
        return cls(
            volume_sha256(volume),
            np.array(volume.affine, dtype=np.float64),
            (k, j, i),
            None if source is None else source.series_instance_uid,
            volume.frame_of_reference_uid,
        )

    def is_of(self, volume: highdicom.Volume) -> bool:
        """Whether a volume is this series: the same voxels, or the same series on the same grid (corrected values)."""
        source = source_of(volume)
        uid = None if source is None else source.series_instance_uid
        if uid is not None and uid == self.series_instance_uid:
            return tuple(volume.spatial_shape) == self.shape and np.allclose(volume.affine, self.affine, atol=1e-3)
        return volume_sha256(volume) == self.sha256


@dataclass(frozen=True, slots=True, eq=False)
class RecordedRegistration:
    """The content of a ``transform.json``."""

    transform: RigidTransform
    method: str
    fixed: SeriesRecord
    moving: SeriesRecord
    error: RigidError | None
    """In the fixed series; None where it is unknown."""

    def error_on(self, study: highdicom.Volume) -> RigidError | None:
        """The error in the space of one of both series.

        Raises
        ------
        ConfigError
            If `study` is neither.
        """
        if self.fixed.is_of(study):
            return self.error
        if not self.moving.is_of(study):
            raise ConfigError(
                "Expected a registration of the study that is planned on; the transform is of two other series. Name "
                "the study it was made with, read in the same way, or register again."
            )
        if self.error is None:
            return None
        turn = np.zeros((6, 6))
        turn[:3, :3] = turn[3:, 3:] = self.transform.moving_from_fixed[:3, :3]
        covariance = turn @ np.array(self.error.covariance) @ turn.T
        return RigidError.about(self.transform.inverse.apply(self.error.centre_lps_mm), covariance)


def transform_document(
    found: Registration,
    fixed: highdicom.Volume,
    moving: highdicom.Volume,
    *,
    landmark_error_mm: Mapping[str, float] | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """The content of ``transform.json`` as plain JSON values."""
    error = found.error
    return {
        **_HEAD,
        "fixed_from_moving": found.transform.fixed_from_moving.tolist(),
        "method": found.method,
        "fixed": _series_entry(SeriesRecord.of(fixed)),
        "moving": _series_entry(SeriesRecord.of(moving)),
        "error": None
        if error is None
        else {"centre_lps_mm": list(error.centre_lps_mm), "covariance": [list(row) for row in error.covariance]},
        "evidence": None if found.evidence is None else found.evidence.as_entry(),
        "landmark_error_mm": dict(landmark_error_mm or {}),
        "notes": [*found.notes, *notes],
        "versions": versions(),
    }


def write_transform(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document of :func:`transform_document`.

    Raises
    ------
    OutputError
        If the place cannot be written.
    """
    write_json(path, document)


def read_transform(path: Path) -> RecordedRegistration:
    """Read a ``transform.json``.

    Raises
    ------
    ConfigError
        If it cannot be read, is of another kind or direction, or its matrix is not rigid.
    """
    try:
        root = Node(parse_json(read_text_file(path, "a transform", PromptError), str(path)), str(path))
        root.require_keys({*_HEAD, "fixed_from_moving", "fixed", "moving", "error"}, others_allowed=True)
        root.require_values(_HEAD, "Write it with `medsam-planner register`.")
        rows = [row.numbers(4) for row in root["fixed_from_moving"].elements(4)]
        return RecordedRegistration(
            RigidTransform(np.array(rows)),
            str(root.value.get("method", "")),
            _series(root["fixed"]),
            _series(root["moving"]),
            None if root["error"].value is None else _error(root["error"]),
        )
    except (PromptError, GeometryError) as error:
        raise ConfigError(f"{path} is no transform of this program: {error}") from error


def _series_entry(record: SeriesRecord) -> dict[str, Any]:
    return {
        "sha256": record.sha256,
        "affine": record.affine.tolist(),
        "shape": list(record.shape),
        "series_instance_uid": record.series_instance_uid,
        "frame_of_reference_uid": record.frame_of_reference_uid,
    }


def _series(node: Node) -> SeriesRecord:
    node.require_keys({"sha256", "affine", "shape"}, optional={"series_instance_uid", "frame_of_reference_uid"})
    k, j, i = (count.integer(at_least=1) for count in node["shape"].elements(3))
    affine = np.array([row.numbers(4) for row in node["affine"].elements(4)])
    uids = {key: node.value.get(key) for key in ("series_instance_uid", "frame_of_reference_uid")}
    return SeriesRecord(node["sha256"].text(), affine, (k, j, i), **uids)


def _error(node: Node) -> RigidError:
    node.require_keys({"centre_lps_mm", "covariance"})
    x, y, z = node["centre_lps_mm"].numbers(3)
    return RigidError((x, y, z), tuple(row.numbers(6) for row in node["covariance"].elements(6)))
