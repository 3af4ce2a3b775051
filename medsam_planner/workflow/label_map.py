"""Several masks as one label map, in the axis order that other programs expect, with a table of names and colours.

The first array axis runs to the patient's right, the second to the front, the third to the head, each as nearly as the
grid allows ("RAS+"). Axes are reordered and turned round; nothing is resampled.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import highdicom
import numpy as np
from PIL import ImageColor

from medsam_planner.errors import EmptyStructureError
from medsam_planner.io import save_nifti
from medsam_planner.io.files import write_whole
from medsam_planner.volumes import volume_like

__all__ = ["LABELS", "LABEL_TABLE", "label_map", "usual_axes", "write_label_map"]

LABELS, LABEL_TABLE = "labels.nii.gz", "labels.csv"
_MOST_LABELS = 65535


def usual_axes(volume: highdicom.Volume) -> highdicom.Volume:
    """The same voxels with the array axes towards the right, the front and the head."""
    return volume.to_patient_orientation("RAH")


def label_map(masks: Mapping[str, highdicom.Volume], names: Sequence[str]) -> tuple[highdicom.Volume, list[str]]:
    """One label for each name, from 1 in their order; 0 is background.

    Parameters
    ----------
    masks : mapping
        bool, by structure, all on one grid; at least one.
    names : sequence of str
        Names of the labels. A name without a mask has no voxel.

    Returns
    -------
    highdicom.Volume
        uint8, or uint16 where there are more than 254 names; on the grid of the masks.
    list of str
        Which structures lost voxels, because a voxel has one label: the later one is kept.

    Raises
    ------
    EmptyStructureError
        If there is no mask.
    """
    if not masks or len(names) > _MOST_LABELS - 1:
        raise EmptyStructureError(f"Expected 1 to {_MOST_LABELS - 1} structures for a label map, got {len(masks)}.")
    first = next(iter(masks.values()))
    labels = np.zeros(first.spatial_shape, dtype=np.uint8 if len(names) < 255 else np.uint16)
    notes = []
    for number, name in enumerate(names, start=1):
        if name not in masks:
            continue
        inside = np.asarray(masks[name].array, dtype=bool)
        taken = labels[inside]
        for other in np.unique(taken[taken > 0]).tolist():
            count = int(np.count_nonzero(taken == other))
            notes.append(
                f"{count} voxels belong to '{names[other - 1]}' and to '{name}'; a label map has one label for each "
                f"voxel, so there they are '{name}'."
            )
        labels[inside] = number
    return volume_like(first, labels), notes


def write_label_map(folder: Path, masks: Mapping[str, highdicom.Volume], colours: Sequence[str]) -> list[str]:
    """Write ``labels.nii.gz`` and ``labels.csv``, which 3D Slicer reads as a colour table.

    Parameters
    ----------
    folder : Path
    masks : mapping
        As :func:`label_map`; their order numbers them.
    colours : sequence of str
        CSS colour of each, ``#rrggbb``.

    Returns
    -------
    list of str
        As :func:`label_map`.
    """
    labels, notes = label_map(masks, list(masks))
    save_nifti(usual_axes(labels), folder / LABELS)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["LabelValue", "Name", "Color_R", "Color_G", "Color_B", "Color_A"])
    for number, (name, colour) in enumerate(zip(masks, colours, strict=True), start=1):
        writer.writerow([number, name, *ImageColor.getrgb(colour)[:3], 255])
    write_whole(folder / LABEL_TABLE, table.getvalue().encode("utf-8"))
    return notes
