"""The figures on the page of `notmiwae.experiments.breast`, as blocks of a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from notmiwae.experiments.arrays import KeptArrays
from notmiwae.experiments.benchmark import Benchmark
from notmiwae.experiments.breast.methods import (
    DEFAULT,
    KNOWN,
    MODELS,
    NAMED,
    OBSERVATIONS,
    REPORTED,
    as_reported,
)
from notmiwae.experiments.breast.problem import Problem, grids, true_rule
from notmiwae.experiments.results import HELD_OUT, mean_sd, spread
from notmiwae.report import figures, page
from notmiwae.report.figures import Dots
from notmiwae.report.page import Block, Key, Panel

TITLES = {
    "above-mean": "Table 1: above the mean",
    "extremes": "Table 2: the extremes",
    "around-mean": "Table 3: around the mean",
}
ERROR = "RMSE, in training standard deviations"
ACROSS = "value, in training standard deviations from the training mean"
BASELINE, REPORT = "#7b8794", "#a0522d"
COLOURS = {
    DEFAULT: "#7a3e9d",
    "MIWAE": "#8a5a00",
    KNOWN: figures.PALETTE[1],
    "not-MIWAE self-masking-quadratic": figures.PALETTE[2],
    "not-MIWAE self-masking-spline": figures.PALETTE[3],
    "self-masking": figures.PALETTE[0],
    "self-masking-known": figures.PALETTE[1],
    "linear": figures.PALETTE[4],
    "nonlinear": figures.PALETTE[5],
}
MARGINAL = (DEFAULT, "linear", "nonlinear")
"""Models whose mechanism looks at other columns too."""


def key(label: str, colour: str, mark: str) -> Key:
    """Return an entry of a legend."""
    return {"label": label, "colour": colour, "mark": mark}


def colour(method: str) -> str:
    """Return a method's colour, the same in all figures."""
    return COLOURS.get(method, REPORT if method.startswith("as reported") else BASELINE)


def errors(results: Benchmark) -> Block:
    """Return a panel per table: the error of every method."""
    panels: list[Panel] = []
    for table in results.datasets:
        values: dict[str, list[float]] = {}
        for row in results.rows:
            if (row.split, row.data) == (HELD_OUT, table):
                values.setdefault(row.method, []).append(row.metrics["rmse"])
        published = results.published[table]
        dots = [
            Dots(name, seeds, colour(name), published[name].value if name in published else None)
            for name, seeds in values.items()
        ]
        alt = f"{TITLES[table]}, root mean squared error by method: {'; '.join(map(say, dots))}."
        image = figures.embed(figures.dot_chart(dots, ERROR), alt)
        panels.append({"title": TITLES[table], "image": image})
    legend = [
        key("the default", COLOURS[DEFAULT], "dot"),
        key("with the report’s settings", REPORT, "dot"),
        key("baseline", BASELINE, "dot"),
        key("published", figures.MUTED, "diamond"),
    ]
    caption = "Further left is better. Ticks, where there are some, are single seeds."
    return page.figure(caption, panels, columns=2, least=17, legend=legend)


def say(dots: Dots) -> str:
    """Return in words what dots show."""
    published = f" (published {dots.published:.3f})" if dots.published is not None else ""
    return f"{dots.label} {spread(mean_sd(dots.values))}{published}"


def imputations(problem: Problem, table: str, kept: KeptArrays) -> Block | None:
    """Return a panel per column: values filled in by the mechanism named in advance."""
    method = NAMED[table]
    if (imputed := kept.read(method, table).get("imputed")) is None:
        return None
    truth = problem.held_out.truth[problem.held_out.missing]
    low, high = np.quantile(truth, [0.005, 0.995])
    panels: list[Panel] = []
    for column, name in zip(problem.amputer.columns_, problem.amputed, strict=True):
        missing = problem.held_out.missing[:, column]
        true, filled = problem.held_out.truth[missing, column], imputed[missing, column]
        alt = (
            f"{TITLES[table]}, {name}: imputed against true values of {true.size} missing cells. "
            f"True values average {true.mean():.2f}, imputed ones {filled.mean():.2f}; their "
            f"correlation is {_correlation(true, filled)}."
        )
        drawn = figures.scatter(true, filled, limits=(low - 0.3, high + 0.3), colour=colour(method))
        panels.append({"title": name, "image": figures.embed(drawn, alt)})
    caption = (
        f"{TITLES[table]}. A point is a missing cell of a held-out row, filled by {method}; on the "
        f"diagonal it would be filled in perfectly. First seed; a few points may lie outside."
    )
    across = "true value, in training standard deviations"
    return page.figure(caption, panels, columns=5, across=across, up="imputed value")


def _correlation(a: np.ndarray, b: np.ndarray) -> str:
    return f"{np.corrcoef(a, b)[0, 1]:.2f}" if len(a) > 1 and np.ptp(b) > 0 else "undefined"


def mechanisms(problem: Problem, table: str, kept: KeptArrays) -> Iterator[Block]:
    """Yield a figure of our mechanisms and one of the report's, a panel per column each."""
    ours = {name: kept.read(name, table) for name in MODELS}
    theirs = {name: kept.read(as_reported(name, "Gaussian"), table) for name in REPORTED}
    for whose, fits in {"our settings": ours, "the report’s settings": theirs}.items():
        curves = {name: fit["missingness"] for name, fit in fits.items() if "missingness" in fit}
        if curves:
            yield _curves(problem, f"{TITLES[table]}, {whose}", curves)


def _curves(problem: Problem, title: str, curves: Mapping[str, np.ndarray]) -> Block:
    panels: list[Panel] = []
    rules = zip(problem.amputed, grids(problem), true_rule(problem), strict=True)
    for i, (column, grid, rule) in enumerate(rules):
        lines = [
            figures.Curve(values[i], colour(name), name in MARGINAL)
            for name, values in curves.items()
        ]
        apart = [f"{name} {np.abs(values[i] - rule).mean():.2f}" for name, values in curves.items()]
        alt = (
            f"{title}, {column}: learned probability of being missing beside the true rule, which "
            f"deletes {_ranges(grid, rule)}. Mean distance from it: {'; '.join(apart)}."
        )
        image = figures.embed(figures.probability_curves(grid, lines, rule), alt)
        panels.append({"title": column, "image": image})
    legend = [key("true rule", "#e9ecef", "area")]
    for name in curves:
        legend.append(key(name, colour(name), "dash" if name in MARGINAL else "line"))
    up = "probability of being missing"
    return page.figure(title, panels, columns=5, legend=legend, across=ACROSS, up=up)


def _ranges(grid: np.ndarray, rule: np.ndarray) -> str:
    """Say where a rule deletes."""
    inside = np.flatnonzero(np.diff(np.concatenate([[0], rule > 0.5, [0]])))
    ends = [
        f"from {grid[start]:.2f} to {grid[stop - 1]:.2f}"
        for start, stop in zip(inside[::2], inside[1::2], strict=True)
    ]
    return " and ".join(ends)


def training(tables: Sequence[str], kept: KeptArrays) -> Block | None:
    """Return a panel per table and model of ours: the bounds on training and held-out rows."""
    panels: list[Panel] = []
    for table in tables:
        for name in MODELS:
            fit = {part: values.tolist() for part, values in kept.read(name, table).items()}
            if not fit:
                continue
            bounds = fit["validation_bound"] or fit["bound"]
            alt = (
                f"{TITLES[table]}, {name}: the bound rises from {bounds[0]:.1f} nats per row to "
                f"{bounds[-1]:.1f} after {fit['step'][-1]} steps; the weights kept are those of "
                f"step {fit['best_step']}."
            )
            image = figures.embed(figures.training_curves([fit], colour(name)), alt)
            panels.append({"title": f"{TITLES[table].split(':')[0]}, {name}", "image": image})
    caption = (
        "The bound on the log-likelihood that training raises, on the rows it learns from (grey) "
        "and on a fifth of the training rows that it does not learn from (coloured). The dot is "
        "where the weights that were kept come from: the highest bound on the rows kept aside, "
        "which needs no true value. Bounds of MIWAE leave the mask out, and cannot be compared "
        "with the others. First seed; the lowest bounds may lie below the frame."
    )
    legend = [
        key("rows it learns from", "#98a3ae", "line"),
        key("rows kept aside", figures.INK, "line"),
        key("weights kept", figures.INK, "dot"),
    ]
    up = "bound per row, nats"
    figure = page.figure(caption, panels, columns=3, legend=legend, across="training step", up=up)
    return figure if panels else None


def errors_seen(tables: Sequence[str], kept: KeptArrays) -> Block | None:
    """Return a panel per table and observation: true errors of the report's models in training."""
    panels = [
        panel
        for table in tables
        for observation in OBSERVATIONS
        if (panel := _errors_seen(kept, table, observation))
    ]
    caption = (
        "Error on held-out rows while the report’s models train, with its settings and without its "
        "faults. The dot is the lowest, by which the report chose: it takes the true values to "
        "know it. First seed."
    )
    legend = [key(name, colour(name), "line") for name in REPORTED]
    figure = page.figure(
        caption, panels, columns=3, legend=legend, across="training step", up=ERROR
    )
    return figure if panels else None


def _errors_seen(kept: KeptArrays, table: str, observation: str) -> Panel | None:
    fits = {name: kept.read(as_reported(name, observation), table) for name in REPORTED}
    title = f"{TITLES[table].split(':')[0]}, {observation}"
    return error_curves(title, {name: fit for name, fit in fits.items() if fit})


def error_curves(title: str, fits: Mapping[str, Mapping[str, Any]]) -> Panel | None:
    """Return a panel of errors seen while training, by mechanism."""
    if not fits:
        return None
    said = [
        f"{name} from {fit['errors_seen'][0]:.2f} to {fit['errors_seen'][-1]:.2f}, lowest "
        f"{fit['errors_seen'].min():.2f}"
        for name, fit in fits.items()
    ]
    alt = f"{title}, error on held-out rows while training: {'; '.join(said)}."
    return {"title": title, "image": figures.embed(_draw_errors(fits), alt)}


@figures.style
def _draw_errors(fits: Mapping[str, Mapping[str, Any]]) -> Figure:
    figure = Figure(figsize=(2.1, 1.6), layout="constrained")
    axes = figure.add_subplot()
    axes.locator_params(nbins=5)
    for name, fit in fits.items():
        step, seen = fit["step"], fit["errors_seen"]
        axes.plot(step, seen, color=colour(name))
        best = seen.argmin()
        axes.plot(step[best], seen[best], "o", color=colour(name), ms=5, mec="white")
    axes.set_xlim(left=0)
    return figure
