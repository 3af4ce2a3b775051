"""Mean score over the number of corrections, as a line chart."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from medsam_planner.drawing.pictures import png_uri
from medsam_planner.lab.evaluation.protocols import InteractionScores
from medsam_planner.lab.evaluation.records import StructureRecord

__all__ = ["learning_curve"]

_COLOURS = {"CT": "#1565c0", "MR": "#c2410c"}
_SCORES = (("dice", "3D Dice"), ("surface_dice_2mm", "3D surface Dice at 2 mm"))


def learning_curve(records: Sequence[StructureRecord], against: str | None = None) -> str:
    """Mean score over the corrections by modality.

    Parameters
    ----------
    records : sequence of StructureRecord
        All with the same number of corrections.
    against : str, optional
        Name of the compared weights, whose curves are dashed; None without any.

    Returns
    -------
    str
        PNG as a data URI.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9.2, 3.4), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, title) in zip(figure.subplots(1, 2, squeeze=False)[0], _SCORES, strict=True):
        for modality in sorted({record.modality for record in records}):
            own = [record for record in records if record.modality == modality]
            colour = _COLOURS.get(modality, "#1f2933")
            label = f"{modality}, {len(own)} structures"
            axes.plot(
                _means([one.interaction for one in own], name), color=colour, marker="o", markersize=4, label=label
            )
            compared = [one.against_interaction for one in own if one.against_interaction is not None]
            if against is not None:
                axes.plot(
                    _means(compared, name),
                    color=colour,
                    linestyle=(0, (4, 3)),
                    linewidth=1.2,
                    label=f"{modality}, {against}",
                )
        axes.set_ylim(0, 1)
        axes.set_xlabel("corrections after the first prompt", fontsize=9)
        axes.set_title(title, fontsize=10, loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#e4e7eb", linewidth=0.7)
        axes.tick_params(labelsize=8.5)
        axes.legend(frameon=False, fontsize=8.5, loc="lower right")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return png_uri(buffer.getvalue())


def _means(interactions: Sequence[InteractionScores], score: str) -> list[float]:
    curves = [[getattr(step.scores, score) for step in one.steps] for one in interactions]
    return [float(value) for value in np.mean(curves, axis=0)]
