"""Figures of what is missing and of what fills it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike, NDArray

from notmiwae.report.figures import FAINT, INK, MUTED, PALETTE, canvas, style
from notmiwae.report.imputation.findings import bulk

OBSERVED, FILLED = "#98a3ae", PALETTE[1]
SCALE = LinearSegmentedColormap.from_list("share", ["#f4f6f8", PALETTE[0]])


@style
def patterns(present: NDArray[np.bool_], shares: Sequence[str], names: Sequence[str]) -> Figure:
    """Draw which columns are missing together.

    Parameters
    ----------
    present : bool array of shape (P, D)
        A pattern in each line, False where a column is missing.
    shares : sequence of str
        How many rows have it.
    names : sequence of str
        Of the columns.
    """
    n_patterns, n_columns = present.shape
    size = 0.23
    height = size * n_patterns + 0.08 * max(map(len, names)) + 0.4
    width = size * n_columns + 0.8
    figure, axes = canvas(width, height)
    for line, pattern in enumerate(present):
        for column, there in enumerate(pattern):
            face = FAINT if there else FILLED
            axes.plot(column, line, "s", ms=9.5, color=face, mec="white", mew=0)
        axes.text(n_columns - 0.2, line, shares[line], va="center", color=INK, fontsize=8)
    axes.set(xlim=(-0.6, width / size - 0.6), ylim=(n_patterns - 0.4, -0.6))
    axes.set_xticks(range(n_columns), names, rotation=90, color=INK, fontsize=8)
    axes.xaxis.tick_top()
    axes.set_yticks([])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


@style
def together(shares: NDArray[np.float64], names: Sequence[str]) -> Figure:
    """Draw in which share of the rows that miss one column the other is missing, too.

    Parameters
    ----------
    shares : array of shape (D, D)
        Between 0 and 1; one line for each column that is missing.
    names : sequence of str
    """
    side = 0.28 * len(names) + 0.075 * max(map(len, names)) + 0.2
    figure, axes = canvas(side, side)
    axes.imshow(shares, cmap=SCALE, vmin=0, vmax=1)
    for (line, column), share in np.ndenumerate(shares):
        colour = "white" if share > 0.6 else MUTED
        text = f"{100 * share:.0f}"
        axes.text(column, line, text, ha="center", va="center", color=colour, fontsize=7)
    axes.set_xticks(range(len(names)), names, rotation=90, color=INK, fontsize=8)
    axes.set_yticks(range(len(names)), names, color=INK, fontsize=8)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


@style
def bars(labels: Sequence[str], observed: ArrayLike, filled: ArrayLike) -> Figure:
    """Draw the shares of labels, the observed ones above the filled ones."""
    figure, axes = canvas(2.1, 0.3 * len(labels) + 0.5)
    places = np.arange(len(labels))
    axes.barh(places - 0.18, observed, 0.32, color=OBSERVED)
    axes.barh(places + 0.18, filled, 0.32, color=FILLED, alpha=0.7)
    shown = [label if len(label) <= 12 else f"{label[:11]}…" for label in labels]
    axes.set_yticks(places, shown, color=INK, fontsize=8)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.locator_params(axis="x", nbins=3)
    return figure


@style
def distributions(observed: ArrayLike, filled: ArrayLike) -> Figure:
    """Draw two histograms of equal area over one another: observed grey, filled in colour."""
    figure, axes = canvas(2.1, 1.4)
    observed, filled = np.ravel(observed), np.ravel(filled)
    low, high = bulk(observed, filled)
    edges = np.linspace(low, high if high > low else low + 1.0, 31)
    for values, colour, alpha in [(observed, OBSERVED, 0.45), (filled, FILLED, 0.25)]:
        if len(values):
            heights = np.histogram(values, edges)[0] / len(values)
            axes.stairs(heights, edges, fill=True, color=colour, alpha=alpha, linewidth=0)
            axes.stairs(heights, edges, color=colour, linewidth=1.3)
    axes.set_yticks([])
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, None))
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=4)
    return figure
