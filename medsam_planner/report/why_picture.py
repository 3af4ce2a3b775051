"""Picture of why the surface lies where it limits the plan: model input, Grad-CAM and KernelSHAP."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.drawing.formatting import percent, place, slice_number
from medsam_planner.drawing.pictures import png_uri
from medsam_planner.report.faithfulness import FaithfulnessRow
from medsam_planner.report.table_rows import plane_name

if TYPE_CHECKING:
    from medsam_planner.segmentation.surface_explanation import WhyHere

__all__ = ["WhyPicture", "why_picture"]

_DPI = 120
_NAMES = {"grad_cam": "Grad-CAM", "shap": "KernelSHAP"}


@dataclass(frozen=True, slots=True, eq=False)
class WhyPicture:
    """One explanation as the page shows it."""

    structure: str
    where: str
    """Slice and place in words."""
    uri: str
    rows: tuple[FaithfulnessRow, ...]


def why_picture(why: WhyHere, affine: ArrayLike) -> WhyPicture:
    """Draw the model input, Grad-CAM and KernelSHAP side by side, oriented like the slices of the report."""
    matrix = np.asarray(affine, dtype=np.float64)
    turn = _Turn(np.delete(np.arange(3), why.axis), matrix)
    rows = tuple(
        FaithfulnessRow(
            f"{_NAMES[name]}: share of the change of the prediction here that the map does not explain",
            _share(figures["infidelity"]),
            _share(figures["infidelity_of_chance"]),
            "below chance",
        )
        for name, figures in why.metrics.items()
    )
    where = f"{plane_name(matrix, why.axis)} {slice_number(why.slice_index)}, at {place(why.place_lps_mm)}"
    return WhyPicture(why.structure, where, _draw(why, turn), rows)


class _Turn:
    """How the rows and columns of a field are turned to the radiological convention."""

    def __init__(self, axes: NDArray[np.intp], affine: NDArray[np.float64]) -> None:
        directions = affine[:3, axes].T
        main = np.abs(directions).argmax(axis=1)
        if main[0] == main[1]:  # nearly 45°: the better one keeps its direction
            weaker = int(np.abs(directions).max(axis=1).argmin())
            rest = np.abs(directions[weaker])
            rest[main[weaker]] = -1
            main[weaker] = int(rest.argmax())
        self.is_transposed = bool(main[0] < main[1])  # x runs along the columns before y, and y before z
        order = [1, 0] if not self.is_transposed else [0, 1]
        across, down = (int(axis) for axis in order)
        self.flips_columns = bool(directions[across, main[across]] < 0)
        # Down is posterior; on slices that hold the body's axis it is inferior.
        sign = -1 if main[down] == 2 else 1
        self.flips_rows = bool(sign * directions[down, main[down]] < 0)
        letters = (("R", "L"), ("A", "P"), ("I", "S"))
        self.left, self.right = letters[main[across]]
        self.top, self.bottom = letters[main[down]][:: 1 if sign > 0 else -1]

    def __call__(self, shown: NDArray[Any]) -> NDArray[Any]:
        turned = shown.T if self.is_transposed else shown
        turned = turned[:, ::-1] if self.flips_columns else turned
        return turned[::-1] if self.flips_rows else turned


def _draw(why: WhyHere, turn: _Turn) -> str:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.2, 3.5), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    titles = ("input of the model", "Grad-CAM: image evidence", "KernelSHAP: contribution of each image region")
    maps = (None, why.grad_cam, why.shap)
    for axes, title, values in zip(figure.subplots(1, 3), titles, maps, strict=True):
        axes.imshow(turn(why.image), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        if values is None:
            # An unseen bar keeps the three pictures of one size.
            unseen = figure.colorbar(axes.images[0], ax=axes, orientation="horizontal", fraction=0.05, pad=0.02)
            unseen.ax.set_visible(False)
        else:
            signed = values.min() < 0
            drawn = axes.imshow(
                turn(np.ma.masked_where(np.abs(values) < 0.05, values)),
                cmap="RdBu_r" if signed else "viridis",
                vmin=-1 if signed else 0,
                vmax=1,
                alpha=0.55,
                interpolation="nearest",
            )
            bar = figure.colorbar(drawn, ax=axes, orientation="horizontal", fraction=0.05, pad=0.02)
            bar.set_ticks([-1, 0, 1] if signed else [0, 1])
            bar.set_ticklabels(["pulls inward", "", "pushes outward"] if signed else ["none", "most"])
            bar.ax.tick_params(labelsize=7.5)
        axes.contour(turn(why.mask.astype(float)), [0.5], colors="#ffffff", linewidths=1.0)
        axes.contour(turn(why.patch.astype(float)), [0.5], colors="#ff2d78", linewidths=1.4)
        for text, x, y in (
            (turn.left, 0.03, 0.5), (turn.right, 0.97, 0.5), (turn.top, 0.5, 0.96), (turn.bottom, 0.5, 0.04),
        ):  # fmt: skip
            axes.text(x, y, text, transform=axes.transAxes, color="#ffe66d", ha="center", va="center", weight="bold")
        axes.set_title(title, fontsize=9)
        axes.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return png_uri(buffer.getvalue())


def _share(value: float | None) -> str:
    return "–" if value is None else percent(value)
