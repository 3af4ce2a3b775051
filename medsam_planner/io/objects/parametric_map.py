"""Maps of a structure as DICOM Parametric Maps of 32-bit floats.

The map has the frames of the images it was made from, because OHIF (Cornerstone's reader) takes no other size. Floats
cannot be encapsulated (PS3.5 A.4), so neither RLE nor JPEG applies; the whole dataset is deflated instead (PS3.5 A.5),
without loss. Integers would need a scale, lose precision, and are not read by dcmqi, which is Slicer's reader.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from pathlib import Path

import highdicom
import numpy as np
from highdicom.sr import CodeContentItem, CodedConcept
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medsam_planner.errors import StudyError
from medsam_planner.io.objects.concepts import private
from medsam_planner.io.objects.identity import (
    CREATOR,
    LONGEST_DESCRIPTION,
    LONGEST_TEXT,
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
from medsam_planner.volumes import StudyVolume, volume_sha256

__all__ = ["MAP_QUANTITIES", "MapQuantity", "save_parametric_map"]

_LONGEST_CODE_STRING = 16


@dataclass(frozen=True, slots=True)
class MapQuantity:
    """What the values of a map are."""

    label: str
    """At most 6 characters, for the content label."""
    words: str
    concept: CodedConcept
    unit: CodedConcept
    short: str = ""
    """For a series description, where `words` would leave a structure's name no room."""
    derivation: CodedConcept | None = None
    """The statistic that it is, where it is one."""


MAP_QUANTITIES: dict[str, MapQuantity] = {
    "probability": MapQuantity(
        "PROB", "probability", CodedConcept.from_code(codes.DCM.Probability), codes.UCUM.NoUnits
    ),
    "uncertainty": MapQuantity(
        "ENTROP", "predictive entropy", private("PredictEntropy"), CodedConcept("bit", "UCUM", "bit")
    ),
    "mutual_information": MapQuantity(
        "MUTINF", "mutual information", private("MutualInfo"), CodedConcept("bit", "UCUM", "bit")
    ),
    "boundary_spread_mm": MapQuantity(
        "SPREAD",
        "standard deviation of surface distance",
        private("BoundarySpread"),
        codes.UCUM.Millimeter,
        "boundary spread",
        CodedConcept.from_code(codes.SCT.StandardDeviation),
    ),
    "saliency": MapQuantity(
        "GRDCAM",
        "gradient-weighted class activation",
        CodedConcept.from_code(codes.DCM.GradientWeightedClassActivation),
        codes.UCUM.NoUnits,
        "Grad-CAM",
    ),
}
"""By the name of the map in a run folder."""


def save_parametric_map(
    values: highdicom.Volume,
    path: str | Path,
    study: StudyVolume,
    *,
    quantity: str,
    structure: str,
    number: int = 0,
    coded_as: StructureCodes | None = None,
    created: datetime.datetime | None = None,
) -> Path:
    """Write a map of `study` as a DICOM Parametric Map of 32-bit floats.

    Parameters
    ----------
    values : Volume of float
        On any grid of the study's frame of reference; usually the study's own, which viewers can lay over the images.
    path
    study : StudyVolume
    quantity
        A name of :data:`MAP_QUANTITIES`.
    structure
        Name of the structure that the map is about; it leads the series description.
    number : int
        Which of the run's structures, from 0: series of one study have different numbers.
    coded_as : StructureCodes, optional
        Of the structure; by default those of its name.
    created
        Content date and time; now by default. The same time gives the same bytes.

    Raises
    ------
    StudyError
        If the study was not read from DICOM, or the quantity is unknown, or a value is not finite.
    GeometryError
        If the map is of another frame of reference.
    """
    headers = source_headers(study)
    require_same_frame(values, study)
    if quantity not in MAP_QUANTITIES:
        raise StudyError(f"Expected a quantity of {', '.join(MAP_QUANTITIES)}; got '{quantity}'.")
    what = MAP_QUANTITIES[quantity]
    array = values.array.astype(np.float32)
    if not np.isfinite(array).all():
        raise StudyError(f"The map of {quantity} has values that are not finite; a parametric map cannot state them.")
    low, high = float(array.min()), float(array.max())
    mapping = highdicom.pm.RealWorldValueMapping(
        lut_label=what.label,
        lut_explanation=what.words,
        unit=what.unit,
        value_range=(low, high),
        slope=1.0,
        intercept=0.0,
        quantity_definition=what.concept,
    )
    if what.derivation is not None:
        mapping.QuantityDefinitionSequence.append(_code_item(what.derivation))
    # LINEAR needs a width of 1 or more (PS3.3 C.11.2.1.2); entropies are below it.
    window = highdicom.VOILUTTransformation(
        window_center=(low + high) / 2, window_width=max(high - low, 1e-6), voi_lut_function="LINEAR_EXACT"
    )
    title = f"{structure}: {what.words}"
    parametric_map = made(
        highdicom.pm.ParametricMap,
        **image_sources(headers),
        pixel_array=plain_volume(values, array),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[window],
        content_label=_content_label(what.label, structure),
        content_description=title[:LONGEST_TEXT],
        content_creator_name=CREATOR,
        series_description=with_notice(_series_description(structure, what)),
        **instance_identity(
            study,
            f"map/{structure}/{quantity}",
            volume_sha256(values),
            SeriesNumber.MAPS + len(MAP_QUANTITIES) * number + list(MAP_QUANTITIES).index(quantity),
            created,
        ),
    )
    _order_along_the_normal(parametric_map)
    parametric_map.Modality = headers[0].Modality
    shared = parametric_map.SharedFunctionalGroupsSequence[0]
    shared.FrameAnatomySequence = [_frame_anatomy(coded_as or structure_codes(structure))]
    return write_object(parametric_map, path, transfer_syntax_uid=DeflatedExplicitVRLittleEndian)


def _order_along_the_normal(dataset: Dataset) -> None:
    """Put the frames in the order of the normal, row × column direction.

    highdicom sorts them against it. dcmqi stacks frames along it, whatever positions they state, and Cornerstone's
    adapters (5.6.8) give them out in the order of the file for a volume that is sorted along it: Slicer and OHIF would
    show the map upside down.
    """
    frames = list(dataset.PerFrameFunctionalGroupsSequence)
    across = np.array(
        dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float
    )
    first, last = (
        np.array(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=float) for frame in (frames[0], frames[-1])
    )
    if (last - first) @ np.cross(across[:3], across[3:]) >= 0:
        return
    indices = [frame.FrameContentSequence[0].DimensionIndexValues for frame in frames]
    frames.reverse()
    for frame, index in zip(frames, indices, strict=True):
        frame.FrameContentSequence[0].DimensionIndexValues = index
    pixels = np.frombuffer(dataset.FloatPixelData, "<f4").reshape(len(frames), -1)
    dataset.PerFrameFunctionalGroupsSequence = frames
    dataset.FloatPixelData = pixels[::-1].tobytes()


def _series_description(structure: str, what: MapQuantity) -> str:
    """Structure and quantity; a long name is shortened, so that maps of one structure can be told apart."""
    quantity = what.short or what.words
    return f"{structure[: LONGEST_DESCRIPTION - len(quantity) - 2]}: {quantity}"


def _content_label(label: str, structure: str) -> str:
    """The quantity and the end of the structure's name, where similar names differ, as a code string."""
    room = _LONGEST_CODE_STRING - len(label) - 1
    name = re.sub(r"[^A-Z0-9]+", "_", structure.upper()).strip("_")
    return f"{label}_{name[-room:].strip('_')}".rstrip("_")


def _code_item(statistic: CodedConcept) -> CodeContentItem:
    """Which statistic the quantity is."""
    return CodeContentItem(name=codes.DCM.Derivation, value=statistic)


def _frame_anatomy(found: StructureCodes) -> Dataset:
    item = Dataset()
    item.AnatomicRegionSequence = [found.region or found.type]
    item.FrameLaterality = found.laterality or "U"
    return item
