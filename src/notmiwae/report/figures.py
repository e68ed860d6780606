"""Figures of a report: arrays -> matplotlib figure -> an image to embed.

Drawn small, without titles and legends: those are text of the page, which keeps its size on a phone
and is read aloud. Colours are Okabe and Ito's, which the colour-blind can tell apart.
"""

from __future__ import annotations

import io
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import ArrayLike

from notmiwae.report.page import Image

INK, MUTED, FAINT = "#1f2933", "#66727f", "#d9dee3"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")

LARGEST_SVG = 120_000  # characters; beyond it a picture of the same figure is smaller
_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
_PIXELS = 96  # of CSS to an inch

style = rc_context(
    {
        "axes.edgecolor": FAINT,
        "axes.facecolor": "none",
        "axes.labelcolor": MUTED,
        "axes.linewidth": 0.8,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "figure.facecolor": "none",  # the page's card shows through
        "font.size": 8,
        "legend.frameon": False,
        "lines.linewidth": 1.6,
        "lines.solid_capstyle": "round",
        "svg.fonttype": "none",
        "svg.hashsalt": "notmiwae",  # the same figure is the same text
        "text.color": INK,
        "xtick.color": FAINT,
        "xtick.labelcolor": MUTED,
        "xtick.major.size": 2.5,
        "ytick.color": FAINT,
        "ytick.labelcolor": MUTED,
        "ytick.major.size": 2.5,
    }
)


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure of so many inches, and its axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.locator_params(nbins=5)
    return figure, axes


@dataclass(frozen=True)
class Dots:
    """Values of `dot_chart`; those with the same label share a line.

    Attributes
    ----------
    label : str
    values : sequence of float
        One per seed, or none where there is only a published value.
    colour : str
    published : float, optional
        Drawn hollow.
    marker : str
        Of the published value.
    """

    label: str
    values: Sequence[float]
    colour: str
    published: float | None = None
    marker: str = "D"


@style
def dot_chart(dots: Sequence[Dots], label: str) -> Figure:
    """Draw the mean over seeds as a dot, each seed faintly, a published value as a hollow marker.

    Parameters
    ----------
    dots : sequence of Dots
        From top to bottom.
    label : str
        Of the values' axis.
    """
    figure, axes = canvas(4.4, 0.27 * len({line.label for line in dots}) + 0.55)
    _draw_dots(axes, dots)
    axes.set_xlabel(label, loc="right")  # beside long names the axis is too short for it
    return figure


@style
def dot_charts(charts: Mapping[str, Sequence[Dots]], label: str) -> Figure:
    """Draw several dot charts side by side, under their titles.

    Parameters
    ----------
    charts : mapping of str to sequence of Dots
        By title; all with the same labels in the same order.
    label : str
        Of the values' axes.
    """
    n_lines = len({line.label for dots in charts.values() for line in dots})
    figure = Figure(figsize=(1.8 + 1.25 * len(charts), 0.27 * n_lines + 0.8), layout="constrained")
    (row,) = figure.subplots(1, len(charts), sharey=True, squeeze=False)
    for axes, (title, dots) in zip(row, charts.items(), strict=True):
        axes.locator_params(axis="x", nbins=3)
        _draw_dots(axes, dots)
        axes.set_title(title, fontsize=9)
    figure.supxlabel(label, color=MUTED, fontsize=8)
    return figure


def _draw_dots(axes: Axes, dots: Sequence[Dots]) -> None:
    labels = list(dict.fromkeys(line.label for line in dots))
    for y in range(len(labels)):
        axes.axhline(y, color=FAINT, linewidth=0.7, zorder=0)
    for line in dots:
        y, values = labels.index(line.label), np.asarray(line.values)
        if len(values) > 1:
            axes.plot(values, np.full(len(values), y), "|", color=line.colour, alpha=0.6, ms=9)
        if len(values):
            axes.plot(
                values.mean(), y, "o", color=line.colour, ms=6.5, mec="white", mew=0.8, zorder=3
            )
        if line.published is not None:
            axes.plot(
                line.published, y, line.marker, mfc="white", mec=MUTED, mew=1.2, ms=5.5, zorder=2
            )
    axes.set_yticks(range(len(labels)), labels, color=INK, fontsize=9)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


@style
def scatter(
    truth: ArrayLike,
    imputed: ArrayLike,
    *,
    limits: tuple[float, float],
    threshold: float | None = None,
    colour: str = PALETTE[0],
) -> Figure:
    """Draw imputed against true values, with the diagonal on which a perfect imputer would be.

    Parameters
    ----------
    truth, imputed : array-like of the same shape
        Values of missing cells.
    limits : pair of float
        Of both axes, so that panels can be compared.
    threshold : float, optional
        Above which values went missing; a faint line.
    """
    figure, axes = canvas(2.1, 2.1)
    axes.plot(limits, limits, color=MUTED, linewidth=0.9, zorder=1)
    if threshold is not None:
        axes.axhline(threshold, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
    axes.scatter(truth, imputed, s=5, color=colour, alpha=0.4, linewidths=0, rasterized=True)
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.set_yticks(axes.get_xticks())
    axes.set(xlim=limits, ylim=limits)
    return figure


@style
def training_curves(histories: Sequence[Mapping[str, Any]], colour: str = PALETTE[0]) -> Figure:
    """Draw training and held-out bounds over the steps; the first history strongly.

    Parameters
    ----------
    histories : sequence of mapping
        Fields of `notmiwae.training.History`, one per seed.
    colour : str
        Of the held-out bound; that of the training rows is grey.
    """
    figure, axes = canvas(2.1, 1.5)
    shown: list[float] = []
    for i, history in enumerate(histories):
        alpha = 0.3 if i else 1.0
        axes.plot(history["step"], history["bound"], color="#98a3ae", alpha=alpha)
        shown += history["bound"][len(history["bound"]) // 10 :]
        if history["validation_bound"]:
            axes.plot(history["step"], history["validation_bound"], color=colour, alpha=alpha)
            at = history["step"].index(history["best_step"])
            best = history["validation_bound"][at]
            axes.plot(history["best_step"], best, "o", color=colour, alpha=alpha, ms=5, mec="white")
            shown += history["validation_bound"][len(history["step"]) // 10 :]
    low, high = np.quantile(shown, [0.05, 1.0])
    margin = 0.08 * (high - low) + 1e-9
    axes.set_ylim(low - margin, high + margin)
    axes.set_xlim(left=0)
    return figure


@dataclass(frozen=True)
class Curve:
    """A line of `probability_curves`: values ``(G,)``, solid or dashed."""

    values: ArrayLike
    colour: str
    dashed: bool = False


@style
def probability_curves(
    grid: ArrayLike, curves: Sequence[Curve], rule: ArrayLike | None = None
) -> Figure:
    """Draw probabilities of being missing over a column's values.

    Parameters
    ----------
    grid : array-like of shape (G,)
    curves : sequence of Curve
        The learned ones.
    rule : array-like of shape (G,), optional
        The true one, as a shaded step.
    """
    figure, axes = canvas(1.75, 1.4)
    if rule is not None:
        axes.fill_between(grid, rule, step="mid", color="#e9ecef", linewidth=0, zorder=0)
        axes.step(grid, rule, where="mid", color="#aab3bd", linewidth=1.0, zorder=1)
    widths = iter(np.linspace(3.2, 1.3, max(sum(not curve.dashed for curve in curves), 2)))
    for curve in curves:
        # Each solid line is thinner than the one before, which shows behind it where they agree.
        shape = {"ls": (0, (3, 2)), "lw": 1.3} if curve.dashed else {"ls": "-", "lw": next(widths)}
        axes.plot(grid, curve.values, color=curve.colour, zorder=2, **shape)
    axes.set(xlim=(np.min(grid), np.max(grid)), ylim=(-0.03, 1.03))
    axes.set_yticks([0, 0.5, 1], ["0", "½", "1"])
    return figure


@style
def embed(figure: Figure, alt: str) -> Image:
    """Return a figure as an image that needs no other file: SVG, or PNG where that is too large.

    Parameters
    ----------
    figure : Figure
    alt : str
        What it shows, for those who do not see it.
    """
    svg = to_svg(figure)
    small = len(svg) <= LARGEST_SVG
    data, kind = (svg.encode(), "svg+xml") if small else (_png(figure), "png")
    width, height = (round(inches * _PIXELS) for inches in figure.get_size_inches())
    source = f"data:image/{kind};base64,{b64encode(data).decode()}"
    return {"src": source, "alt": alt, "width": width, "height": height}


@style
def to_svg(figure: Figure) -> str:
    """Return a figure as the text of an SVG file, the same for the same figure."""
    text = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(text, format="svg", dpi=220, metadata=nothing)
    # The page's letters rather than matplotlib's.
    return re.sub(r"'DejaVu Sans'.*?sans-serif", _FONTS, text.getvalue())


def _png(figure: Figure) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=220, metadata={"Software": None})
    return data.getvalue()


def picture(pixels: ArrayLike, alt: str, scale: int = 4) -> Image:
    """Return a small picture as an image, each pixel enlarged.

    Parameters
    ----------
    pixels : array-like, shape (C, H, W)
        Colours (C = 3) or greys (C = 1) from 0 to 1; what lies outside is cut off.
    alt : str
        What it shows, for those who do not see it.
    scale : int
        Pixels of the image to a pixel of the picture, across and down.
    """
    values = np.clip(np.asarray(pixels, dtype=float), 0, 1)
    colours = np.broadcast_to(values, (3, *values.shape[1:]))
    large = np.rint(255 * np.moveaxis(colours, 0, -1)).astype(np.uint8)
    large = large.repeat(scale, axis=0).repeat(scale, axis=1)
    data = io.BytesIO()
    imsave(data, large, format="png")
    source = f"data:image/png;base64,{b64encode(data.getvalue()).decode()}"
    return {"src": source, "alt": alt, "width": large.shape[1], "height": large.shape[0]}
