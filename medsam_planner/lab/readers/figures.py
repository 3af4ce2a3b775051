"""Figures for a journal: vector graphics, colours that the colour-blind tell apart, n and interval in each."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from medsam_planner.lab.readers.crossed_bootstrap import CrossedMean
from medsam_planner.lab.readers.mask_comparison import METRICS
from medsam_planner.lab.readers.mask_statistics import ALL, SummaryRow
from medsam_planner.lab.readers.mask_study import OTHERS, MaskStudy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "drawn", "forest", "mode_means", "rating_bars", "volume_agreement"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Of Okabe and Ito; shapes of markers differ, too."""
_MARKERS = ("o", "s", "^", "D", "v", "P")
_WIDTH_INCHES = 7.0
"""Two columns of a journal."""
_STYLE: Any = {
    "font.size": 8,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "medsam-planner",
    "pdf.fonttype": 42,
}


def drawn(figure: Figure) -> Mapping[str, bytes]:
    """The figure as ``svg`` and ``pdf``; the same values give the same bytes."""
    import matplotlib

    files = {}
    with matplotlib.rc_context(_STYLE):
        for kind, metadata in (("svg", {"Date": None}), ("pdf", {"CreationDate": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=metadata)
            files[kind] = buffer.getvalue()
    return files


def forest(rows: Sequence[SummaryRow], metric: str) -> Figure:
    """Means by structure against the other readers, with their intervals, readers and model beside each other.

    Parameters
    ----------
    rows : sequence of SummaryRow
    metric : str
        A key of :data:`METRICS`.
    """
    own = [row for row in rows if row.metric == metric and row.reference == OTHERS]
    structures = list(dict.fromkeys(row.structure for row in own))
    groups = list(dict.fromkeys(row.compared for row in own))
    about = METRICS[metric]
    with _new_figure(0.9 + 0.24 * len(structures)) as (figure, axes):
        for number, group in enumerate(groups):
            shift = (number - (len(groups) - 1) / 2) * 0.28
            members = {row.structure: row.mean for row in own if row.compared == group}
            places = [structures.index(name) + shift for name in members]
            _error_bars(axes, list(members.values()), places, number, group)
        counts = {row.structure: row.mean for row in own}
        labels = [f"{name}  (n = {counts[name].patients})" for name in structures]
        axes.set_yticks(range(len(structures)), labels)
        axes.set_ylim(len(structures) - 0.4, -0.6)
        if ALL in structures:
            axes.axhspan(structures.index(ALL) - 0.5, structures.index(ALL) + 0.5, color="#f0f0f0", zorder=0)
        unit = f" ({about.unit})" if about.unit else ""
        readers = max(row.mean.readers for row in own)
        axes.set_xlabel(
            f"{about.label}{unit} against the other readers; mean and 95 % "
            f"BCa interval over patients (n) and {readers} readers"
        )
        axes.grid(axis="x", color="#d9d9d9", linewidth=0.5)
        if len(groups) > 1:
            axes.legend(frameon=False, loc="best")
    return figure


def volume_agreement(study: MaskStudy, pairs: Mapping[str, Any]) -> Figure:
    """Bland–Altman plot of relative volumes, one panel for each pair of readers."""
    with _new_figure(3.1 * len(pairs), panels=len(pairs)) as (figure, all_axes):
        for axes, (title, found) in zip(all_axes, pairs.items(), strict=True):
            one, other = title.split(" − ")
            for number, patient in enumerate(study.patients):
                points = [
                    (reading.volume_ml_by_reader[one], reading.volume_ml_by_reader[other])
                    for reading in study.readings
                    if reading.patient == patient and {one, other} <= set(reading.volume_ml_by_reader)
                ]
                both = np.array([pair for pair in points if sum(pair) > 0]).reshape(-1, 2)
                axes.plot(
                    both.mean(axis=1),
                    200 * (both[:, 0] - both[:, 1]) / both.sum(axis=1),
                    _MARKERS[number % len(_MARKERS)],
                    color=COLOURS[number % len(COLOURS)],
                    markersize=3.5,
                    alpha=0.8,
                    label=f"patient {number + 1}" if len(study.patients) <= len(_MARKERS) else None,
                )
            bias, limits = found["bias_percent"], found["limits_percent"]
            axes.axhline(bias["mean"], color="black", linewidth=1)
            interval = "one patient, no interval"
            if bias["low"] is not None:
                axes.axhspan(bias["low"], bias["high"], color="#56B4E9", alpha=0.25, linewidth=0)
                interval = f"95 % interval {bias['low']:.1f} to {bias['high']:.1f}"
            told = "too few for limits of agreement"
            if limits is not None:
                for limit in limits:
                    axes.axhline(limit, color="black", linewidth=0.8, linestyle=(0, (5, 3)))
                told = f"limits of agreement {limits[0]:.1f} to {limits[1]:.1f}"
            axes.set_xscale("log")
            axes.set_xlabel("mean volume (ml)")
            axes.set_ylabel(f"{title} (% of the mean)")
            axes.set_title(
                f"n = {found['structures']} structures of {bias['patients']} patients; bias {bias['mean']:.1f} % "
                f"({interval}); {told}",
                loc="left",
                fontsize=7.5,
            )
            if len(study.patients) <= len(_MARKERS):
                axes.legend(frameon=False, fontsize=7)
    return figure


def rating_bars(counts_by_mode: Mapping[str, Sequence[int]], scale: Sequence[str]) -> Figure:
    """Shares of the ratings in each mode, the worst at the left.

    Parameters
    ----------
    counts_by_mode : mapping
        Number of readings with each answer.
    scale : sequence of str
    """
    import matplotlib

    shades = matplotlib.colormaps["cividis"](np.linspace(0.05, 0.95, len(scale)))
    with _new_figure(1.2 + 0.5 * len(counts_by_mode)) as (figure, axes):
        for place, (_mode, counts) in enumerate(counts_by_mode.items()):
            left, total = 0.0, max(sum(counts), 1)
            for answer, count in enumerate(counts):
                share = 100 * count / total
                axes.barh(place, share, left=left, color=shades[answer], edgecolor="white", height=0.7)
                if share > 6:
                    ink = "white" if answer < len(scale) / 2 else "black"
                    axes.text(left + share / 2, place, str(count), ha="center", va="center", color=ink)
                left += share
        labels = [f"{mode}  (n = {sum(counts)})" for mode, counts in counts_by_mode.items()]
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.set_xlabel("share of the readings (%); numbers are readings")
        patches = [
            matplotlib.patches.Patch(color=shade, label=answer) for shade, answer in zip(shades, scale, strict=True)
        ]
        axes.legend(handles=patches, frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def mode_means(means: Mapping[str, Any], label: str) -> Figure:
    """Figure of merit of each mode with its interval over readers and cases.

    Parameters
    ----------
    means : mapping
        By mode: ``estimate``, ``low``, ``high``, ``readers``, ``cases`` and ``by_reader``.
    label : str
        What the figure of merit is.
    """
    with _new_figure(1.0 + 0.45 * len(means)) as (figure, axes):
        for place, (_mode, one) in enumerate(means.items()):
            axes.plot(one["by_reader"], [place + 0.2] * len(one["by_reader"]), "|", color="#666666", markersize=7)
            mean = CrossedMean(one["estimate"], one["low"], one["high"], one["cases"], one["readers"], 0)
            _error_bars(axes, [mean], [place], place, "")
        axes.set_yticks(
            range(len(means)), [f"{mode}  (n = {one['readers']} × {one['cases']})" for mode, one in means.items()]
        )
        axes.set_ylim(len(means) - 0.4, -0.6)
        axes.set_xlabel(f"{label}; mean and 95 % interval over readers × cases, ticks: single readers")
        axes.grid(axis="x", color="#d9d9d9", linewidth=0.5)
    return figure


def _error_bars(axes: Axes, means: Sequence[CrossedMean], places: Sequence[float], number: int, label: str) -> None:
    colour = COLOURS[number % len(COLOURS)]
    for mean, place in zip(means, places, strict=True):
        if mean.low is not None and mean.high is not None:
            axes.plot([mean.low, mean.high], [place, place], color=colour, linewidth=1.4, solid_capstyle="butt")
    marker = _MARKERS[number % len(_MARKERS)]
    axes.plot([mean.mean for mean in means], places, marker, color=colour, markersize=4.5, label=label or None)


@contextmanager
def _new_figure(height_inches: float, *, panels: int = 0) -> Iterator[tuple[Figure, Any]]:
    """A figure with one pair of axes, or with so many below each other."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH_INCHES, max(height_inches, 1.4)), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, figure.subplots(panels, 1, squeeze=False)[:, 0] if panels else figure.subplots()
