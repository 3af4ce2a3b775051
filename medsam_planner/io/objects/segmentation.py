"""Masks as one DICOM Segmentation of the study they were made from, each segment coded, coloured and traceable.

A label map with RLE is the default: it is small, and OHIF reads it at any number of columns, where it refuses
bit-packed frames that do not end on a byte. A voxel of a label map belongs to one segment; segments that overlap are
written bit-packed (BINARY) instead, so that no voxel is lost. Every slice of the grid is written, empty ones too.

UIDs follow from the content and `created`; the tracking UID of a segment follows from the study and the structure's
name alone, so that it stays over revisions.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path

import highdicom
import numpy as np
from highdicom.color import CIELabColor
from PIL import ImageColor
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

from medsam_planner.errors import EmptyStructureError, GeometryError, StudyError
from medsam_planner.io.blank_uids import content_uid
from medsam_planner.io.objects.identity import (
    CREATOR,
    LONGEST_TEXT,
    MANUFACTURER,
    SeriesNumber,
    image_sources,
    instance_identity,
    made,
    plain_volume,
    require_same_frame,
    source_headers,
    with_notice,
    write_object,
)
from medsam_planner.io.objects.structure_codes import StructureCodes, structure_codes
from medsam_planner.volumes import StudyVolume, array_sha256

__all__ = [
    "LABEL_MAP_STORAGE",
    "Algorithm",
    "Segment",
    "SegmentEncoding",
    "fitting_encoding",
    "save_dicom_seg",
    "save_segments",
    "tracking_uid",
]

LABEL_MAP_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.7")
"""Label Map Segmentation Storage, which pydicom has no name for yet."""


class SegmentEncoding(StrEnum):
    """How a Segmentation stores its segments."""

    LABELMAP = "LABELMAP"
    BINARY = "BINARY"

    @property
    def transfer_syntax_uid(self) -> UID:
        """RLE cannot hold bit-packed pixels (PS3.5, 8.2.2)."""
        return RLELossless if self is SegmentEncoding.LABELMAP else ExplicitVRLittleEndian


@dataclass(frozen=True, slots=True)
class Algorithm:
    """What made a mask, for the algorithm identification (PS3.3, 10.16; IHE AI Results)."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Such as the SHA-256 of the weights."""

    def item(self) -> highdicom.AlgorithmIdentificationSequence:
        """As a sequence of one item, with this package's version."""
        return highdicom.AlgorithmIdentificationSequence(
            name=self.name[:LONGEST_TEXT],
            version=version("medsam-planner"),
            family=codes.DCM.ArtificialIntelligence,
            source=MANUFACTURER,
            parameters=dict(self.parameters) or None,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One segment to be written."""

    label: str
    mask: highdicom.Volume
    """(K, J, I) bool, on a grid in the study's frame of reference."""
    colour: str = "#2fd39b"
    """CSS colour, ``#rrggbb``."""
    algorithm: Algorithm = Algorithm(MANUFACTURER)
    codes: StructureCodes | None = None
    """None takes those of the label."""
    algorithm_type: str = "SEMIAUTOMATIC"
    remark: str = ""
    """What a reader must know of it, for its description."""


def save_dicom_seg(
    mask: highdicom.Volume,
    path: str | Path,
    study: StudyVolume,
    *,
    label: str,
    algorithm_name: str = MANUFACTURER,
    created: datetime.datetime | None = None,
) -> Path:
    """Write one mask as a DICOM Segmentation of `study`; see :func:`save_segments`.

    Parameters
    ----------
    mask : Volume of bool
        On any grid of the study's frame of reference; usually the study's own.
    label
        Name of the structure, at most 64 characters; its codes follow from it.
    algorithm_name
        Recorded with this package's version as the algorithm.
    created
        Content date and time; now by default. The same time gives the same bytes.
    """
    return save_segments([Segment(label, mask, algorithm=Algorithm(algorithm_name))], path, study, created=created)


def save_segments(
    segments: Sequence[Segment],
    path: str | Path,
    study: StudyVolume,
    *,
    encoding: SegmentEncoding | None = None,
    title: str = "Segmentation",
    series_number: int = SeriesNumber.SEGMENTATION,
    created: datetime.datetime | None = None,
) -> Path:
    """Write masks as one DICOM Segmentation of `study`, numbered from 1 in the order given.

    Parameters
    ----------
    segments : sequence of Segment
        All on one grid.
    path
    study : StudyVolume
    encoding
        None takes a label map, and BINARY where segments overlap.
    title
        Leads the series description, which ends with the notice of research use.
    series_number
    created
        Content date and time; now by default. The same time gives the same bytes.

    Raises
    ------
    StudyError
        If the study was not read from DICOM, or a label cannot be one.
    GeometryError
        If a mask is not a mask, is of another frame of reference or on another grid than the first, or segments of a
        label map overlap.
    EmptyStructureError
        If there is no segment, or a mask has no voxel.
    """
    headers = source_headers(study)
    if not segments:
        raise EmptyStructureError("Expected at least one segment to write, got none.")
    for segment in segments:
        _check(segment, segments[0].mask, study)
    chosen = fitting_encoding(segments) if encoding is None else SegmentEncoding(encoding)
    if chosen is SegmentEncoding.LABELMAP and fitting_encoding(segments) is not chosen:
        raise GeometryError("Expected segments without a common voxel for a label map, got some; write them as BINARY.")
    labels = [segment.label for segment in segments]
    identity = "/".join([*labels, *(segment.algorithm.name for segment in segments)])
    content = "".join(array_sha256(segment.mask.array) for segment in segments) + str(segments[0].mask.affine.tolist())
    segmentation = made(
        highdicom.seg.Segmentation,
        **image_sources(headers),
        pixel_array=_pixels(segments, chosen),
        segmentation_type=chosen.value,
        segment_descriptions=[_description(n, one, headers[0]) for n, one in enumerate(segments, start=1)],
        omit_empty_frames=False,
        transfer_syntax_uid=chosen.transfer_syntax_uid,
        content_label="SEGMENTATION",
        content_description=", ".join(labels)[:LONGEST_TEXT],
        content_creator_name=CREATOR,
        series_description=with_notice(title),
        **instance_identity(study, f"seg/{chosen}/{identity}", content, series_number, created),
    )
    return write_object(segmentation, path)


def fitting_encoding(segments: Sequence[Segment]) -> SegmentEncoding:
    """A label map where no voxel is in two segments, else BINARY."""
    seen = np.zeros(segments[0].mask.spatial_shape, dtype=bool)
    for segment in segments:
        if (seen & segment.mask.array).any():
            return SegmentEncoding.BINARY
        seen |= segment.mask.array
    return SegmentEncoding.LABELMAP


def tracking_uid(study_instance_uid: str, label: str) -> UID:
    """UID under which a structure of a study is tracked, whatever its mask."""
    return content_uid("tracking", study_instance_uid, label)


def _check(segment: Segment, first: highdicom.Volume, study: StudyVolume) -> None:
    mask, label = segment.mask, segment.label
    require_same_frame(mask, study)
    if mask.array.dtype != np.bool_:
        raise GeometryError(f"Expected a mask of bool, got {mask.array.dtype}.")
    if mask.spatial_shape != first.spatial_shape or not np.allclose(mask.affine, first.affine, atol=1e-6):
        raise GeometryError(f"Expected all segments on one grid, got '{label}' on another; resample it first.")
    if not mask.array.any():
        raise EmptyStructureError(f"The mask of '{label}' has no voxel; a segmentation needs one.")
    if not 0 < len(label) <= LONGEST_TEXT or "\\" in label:
        raise StudyError(f"Expected a label of 1 to {LONGEST_TEXT} characters without a backslash, got '{label}'.")


def _pixels(segments: Sequence[Segment], encoding: SegmentEncoding) -> highdicom.Volume:
    first = segments[0].mask
    if encoding is SegmentEncoding.LABELMAP:
        labels = np.zeros(first.spatial_shape, dtype=np.uint8 if len(segments) < 256 else np.uint16)
        for number, segment in enumerate(segments, start=1):
            labels[segment.mask.array] = number
        return plain_volume(first, labels)
    stacked = np.stack([segment.mask.array for segment in segments], axis=-1).astype(np.uint8)
    return highdicom.Volume(
        array=stacked,
        affine=first.affine,
        coordinate_system=first.coordinate_system,
        frame_of_reference_uid=first.frame_of_reference_uid,
        channels={"SegmentNumber": list(range(1, len(segments) + 1))},
    )


def _description(number: int, segment: Segment, header: Dataset) -> highdicom.seg.SegmentDescription:
    found = segment.codes or structure_codes(segment.label)
    description = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.label,
        segmented_property_category=found.category,
        segmented_property_type=found.type,
        algorithm_type=segment.algorithm_type,
        algorithm_identification=segment.algorithm.item(),
        tracking_uid=tracking_uid(str(header.StudyInstanceUID), segment.label),
        tracking_id=segment.label,
        anatomic_regions=None if found.region is None else [found.region],
        display_color=CIELabColor.from_rgb(*ImageColor.getrgb(segment.colour)[:3]),
    )
    description.SegmentDescription = ". ".join(filter(None, (with_notice(segment.label), segment.remark)))
    if found.modifier is not None:
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [found.modifier]
    return description
