"""Metrics of saliency maps in plain words, each with the value that an uninformative map would have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medsam_planner.drawing.formatting import number, percent, plain, slice_number

__all__ = ["FaithfulnessRow", "faithfulness_rows", "saliency_warning"]


@dataclass(frozen=True, slots=True)
class FaithfulnessRow:
    """One metric."""

    name: str
    value: str
    chance: str
    reading: str
    """What a good value looks like."""


def faithfulness_rows(metrics: Mapping[str, Any]) -> list[FaithfulnessRow]:
    """Rows for the metrics of :func:`medsam_planner.segmentation.saliency.explain`; unknown ones are shown unchanged.

    The chance level of an unknown metric is the entry of the same name that ends in ``_of_chance``, or the entry
    ``chance`` beside it in a nested mapping.
    """
    left = _flat(metrics)
    rows = []
    chance, share = left.pop("overlap.chance", None), left.pop("overlap.top_share", None)
    more = "above chance"
    if "overlap.energy_inside" in left:
        name = "share of the saliency inside the mask"
        rows.append(FaithfulnessRow(name, _share(left.pop("overlap.energy_inside")), _share(chance), more))
    if "overlap.top_inside" in left:
        strongest = "most salient voxels" if share is None else f"most salient {percent(float(share))} of voxels"
        name = f"share of the {strongest} inside the mask"
        rows.append(FaithfulnessRow(name, _share(left.pop("overlap.top_inside")), _share(chance), more))
    if "infidelity" in left:
        name = "infidelity: share of the change of the prediction that the map does not explain"
        of_chance = _share(left.pop("infidelity_of_chance", None))
        rows.append(FaithfulnessRow(name, _share(left.pop("infidelity")), of_chance, "below chance"))
    for key, kind in (("randomisation_rank_correlation", "rank correlation"), ("randomisation_ssim", "SSIM")):
        if key in left:
            name = f"{kind} with the map of the same network with random weights"
            reading = "near 0: the map depends on what was learned"
            rows.append(FaithfulnessRow(name, number(float(left.pop(key)), 2), "1 if weights did not matter", reading))
    if "slice_index" in left:
        rows.append(
            FaithfulnessRow(
                "slice the last checks were made on", str(slice_number(int(left.pop("slice_index")))), "", ""
            )
        )
    return rows + _unknown(left)


def saliency_warning(metrics: Mapping[str, Any]) -> str:
    """Warning to print across a saliency map that is not above chance; empty where it is.

    It is above chance when more of the evidence lies on the structure than by chance, when it explains more
    of the change of the prediction than a constant map, and when both were measured.
    """
    flat = _flat(metrics)
    inside, chance = flat.get("overlap.energy_inside"), flat.get("overlap.chance")
    unexplained, of_chance = flat.get("infidelity"), flat.get("infidelity_of_chance")
    if inside is None or chance is None or unexplained is None or of_chance is None:
        return "Saliency not checked"
    is_above = float(inside) > float(chance) and float(unexplained) < float(of_chance)
    return "" if is_above else "Saliency no better than chance"


def _unknown(metrics: Mapping[str, Any]) -> list[FaithfulnessRow]:
    rows = []
    for name, value in metrics.items():
        group = name.rpartition(".")[0]
        if name.endswith(("_of_chance", ".chance")):
            continue
        chance = metrics.get(f"{name}_of_chance", metrics.get(f"{group}.chance") if group else None)
        rows.append(FaithfulnessRow(name.replace("_", " "), plain(value), "" if chance is None else plain(chance), ""))
    return rows


def _share(value: Any) -> str:
    return "–" if value is None else percent(float(value))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
