"""What the page of `notmiwae.experiments.breast` says and shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from notmiwae.experiments.breast import Fit, Problem, grids, true_rule
from notmiwae.experiments.results import Results, mean_sd, spread
from notmiwae.report import figures, page
from notmiwae.report.page import Block, Key, Page, Panel, Section

BASELINE = "#7b8794"
COLOURS = {
    "not-MIWAE auto": "#7a3e9d",
    "MIWAE": "#8a5a00",
    "not-MIWAE at-random": "#4b5563",
    "not-MIWAE self-masking": figures.PALETTE[0],
    "not-MIWAE self-masking-known": figures.PALETTE[1],
    "not-MIWAE self-masking-quadratic": figures.PALETTE[2],
    "not-MIWAE self-masking-spline": figures.PALETTE[3],
    "not-MIWAE linear": figures.PALETTE[4],
    "not-MIWAE nonlinear": figures.PALETTE[5],
}
ACROSS = "value, in training standard deviations from the training mean"

METHODS = {
    "column mean": "Every gap in a column gets the mean of what is left in it.",
    "5-NN": "A gap gets the mean of the five most similar rows.",
    "MICE": "Each column is predicted from the others by a linear regression, round after round, "
    "until the gaps settle. It does well on this table, where straight lines come close: complete "
    "columns, such as the largest radius, nearly determine the deleted ones.",
    "missForest": "The same idea with random forests in place of linear regressions.",
    "MIWAE": "A neural network learns how the columns vary together, from the values that are "
    "there. It takes for granted that why a value is missing has nothing to do with what it was.",
    "not-MIWAE auto": "The default: at-random, self-masking and self-masking-spline are compared "
    "on training rows that were held out for it, and complete columns may explain gaps too.",
    "not-MIWAE at-random": "MIWAE with a model of the gaps in which only complete columns count.",
    "not-MIWAE self-masking": "MIWAE with a model of the gaps, learned at the same time: whether a "
    "value is missing depends on the value itself. Whether high or low ones go missing is learned.",
    "not-MIWAE self-masking-known": "Self-masking that is told that high values go missing.",
    "not-MIWAE self-masking-quadratic": "Self-masking in which the middle or both ends of a column "
    "may go missing as well.",
    "not-MIWAE self-masking-spline": "Self-masking in which the probability may bend freely along "
    "the value.",
    "not-MIWAE linear": "Whether a value is missing may depend on all columns of its row, by a "
    "weighted sum.",
    "not-MIWAE nonlinear": "The same as linear, by a small neural network.",
}


def make_page(results: Results, problem: Problem, fits: Sequence[Fit]) -> Page:
    """Return the page for a run, for `notmiwae.report.render`."""
    about = results.metadata
    n_missing, n_rows = about["n_missing_held_out_cells"], about["n_held_out_rows"]
    share = n_missing / (n_rows * about["n_amputed_columns"])
    sections = [
        _errors(results, fits),
        _imputations(problem, fits),
        _mechanisms(problem, fits),
        _training(fits),
        _method(results),
        _limits(),
        _provenance(results),
    ]
    return {
        "title": "What was above the mean?",
        "kicker": f"Breast cancer data · preset {about['preset']}",
        "lead": (
            f"In {about['n_amputed_columns']} of {about['n_columns']} columns, every value above "
            "the column’s mean was deleted. Each method then filled the gaps without seeing what "
            "had been there. This page sets what they filled in against the truth."
        ),
        "facts": [
            ("rows to learn from", str(about["n_training_rows"])),
            ("rows held out", str(n_rows)),
            ("missing cells scored", str(n_missing)),
            ("missing in those columns", f"{share:.0%}"),
            ("seed" if len(about["seeds"]) == 1 else "seeds", str(len(about["seeds"]))),
        ],
        "sections": [section for section in sections if section["blocks"]],
        "footer": f"Made by notmiwae {about['versions']['notmiwae']}.",
    }


def _errors(results: Results, fits: Sequence[Fit]) -> Section:
    """Return the table and the chart of errors."""
    summary = results.held_out()
    means = [entry["rmse"]["mean"] for entry in summary]
    best = int(np.argmin(means))
    rows = [
        (
            entry["method"],
            spread(entry["rmse"]),
            results.published_text(entry["method"]),
            spread(entry["mae"]),
            spread(entry["bias"]),
            f"{entry['seconds']['mean']:.1f}",
        )
        for entry in summary
    ]
    caption = "Errors over the missing cells of held-out rows, in training standard deviations"
    if len(results.metadata["seeds"]) > 1:
        caption += "; mean ± standard deviation over seeds, without the latter where it is zero"
    header = ("Method", "RMSE", "RMSE, published", "Mean abs. error", "Bias", "Fit (s)")
    introduction = (
        f"The lowest error is that of {summary[best]['method']}, {means[best]:.3f}. Bias is the "
        "mean of filled-in minus true: a method that does not know why values are missing fills in "
        "too little, because all that it saw of these columns lies below the mean."
    )
    blocks = [
        page.text(introduction),
        page.table(caption, header, rows, notes=results.notes(), best=best),
        _chart(results),
    ]
    return {"title": "How far off", "blocks": blocks}


def _chart(results: Results) -> Block:
    values: dict[str, list[float]] = {}
    for row in results.rows:
        if row.split == "held-out":
            values.setdefault(row.method, []).append(row.metrics["rmse"])
    lines = []
    for name, errors in values.items():
        number = results.published.get(name)
        marker = "D" if number and number.mark == "*" else "o"
        published = number.value if number else None
        lines.append(figures.Dots(name, errors, _colour(name), published, marker))
    chart = figures.dot_chart(lines, "RMSE, in training standard deviations")
    alt = "Root mean squared error by method: " + "; ".join(map(_say, lines))
    legend = [_key("this run, mean", figures.INK, "dot")]
    if any(len(line.values) > 1 for line in lines):
        legend.append(_key("this run, each seed", figures.INK, "tick"))
    markers = {line.marker for line in lines if line.published is not None}
    if "D" in markers:
        legend.append(_key("published *", figures.MUTED, "diamond"))
    if "o" in markers:
        legend.append(_key("baseline re-run †", figures.MUTED, "ring"))
    return page.figure(
        "Further left is better. Hollow marks are the published numbers of the table.",
        [{"title": "", "image": figures.embed(chart, alt)}],
        legend=legend,
    )


def _say(line: figures.Dots) -> str:
    published = f" (published {line.published:.3f})" if line.published is not None else ""
    return f"{line.label} {spread(mean_sd(line.values))}{published}"


def _imputations(problem: Problem, fits: Sequence[Fit]) -> Section:
    """Return a panel per method: imputed against true values."""
    missing = np.isnan(problem.held_out_holes)
    truth = problem.held_out[missing]
    high = float(np.quantile(truth, 0.995)) + 0.3
    limits = (-1.5, high)
    outside = int((truth > high).sum())
    panels: list[Panel] = []
    for fit in _first_seed(fits):
        imputed = fit.imputed[missing]
        drawn = figures.scatter(
            truth, imputed, limits=limits, threshold=0.0, colour=_colour(fit.method)
        )
        alt = (
            f"{fit.method}: imputed against true values of {truth.size} missing cells. True values "
            f"average {truth.mean():.2f}, imputed ones {imputed.mean():.2f}; their correlation is "
            f"{_correlation(truth, imputed)}."
        )
        panels.append({"title": fit.method, "image": figures.embed(drawn, alt)})
    caption = (
        "A point is a missing cell of a held-out row; on the diagonal it would be filled in "
        "perfectly. The dashed line is the mean, above which all of these values were. Points "
        f"below it are certainly wrong. First seed; {outside} cells with a true value above "
        f"{high:.1f} lie outside."
    )
    block = page.figure(
        caption,
        panels,
        columns=3,
        across="true value, in training standard deviations",
        up="imputed value",
    )
    return {"title": "What was filled in", "blocks": [block]}


def _correlation(a: np.ndarray, b: np.ndarray) -> str:
    return f"{np.corrcoef(a, b)[0, 1]:.2f}" if np.ptp(b) > 0 else "undefined"


def _mechanisms(problem: Problem, fits: Sequence[Fit]) -> Section:
    """Return a panel per column: learned probability of being missing over the value."""
    learned = {fit.method: fit.missingness for fit in _first_seed(fits)}
    curves = {name: values for name, values in learned.items() if values is not None}
    panels: list[Panel] = []
    where = zip(problem.amputer.columns_, grids(problem), true_rule(problem), strict=True)
    for i, (column, grid, rule) in enumerate(where if curves else ()):
        lines = [
            figures.Curve(values[i], _colour(name), _marginal(name))
            for name, values in curves.items()
        ]
        crossings = [f"{name} {_crossing(grid, values[i])}" for name, values in curves.items()]
        alt = (
            f"{problem.columns[column]}: truly missing above {_edge(grid, rule):.2f}. Learned "
            f"value at which half go missing: {'; '.join(crossings)}."
        )
        drawn = figures.probability_curves(grid, lines, rule)
        panels.append({"title": problem.columns[column], "image": figures.embed(drawn, alt)})
    caption = (
        "The learned probability that a value is missing, given what it is. The shaded step is how "
        "values were deleted in truth; a good model rises where the step does. Dashed lines belong "
        "to models in which other columns count as well: for them, the other columns keep the "
        "values of the held-out rows as that model filled them, and the line is the mean over "
        "these rows. First seed."
    )
    legend = [_key("true rule", "#e9ecef", "area")]
    legend += [_key(name, _colour(name), "dash" if _marginal(name) else "line") for name in curves]
    blocks = [
        page.figure(
            caption,
            panels,
            columns=5,
            legend=legend,
            across=ACROSS,
            up="probability of being missing",
        )
    ]
    return {"title": "What was learned about the gaps", "blocks": blocks if panels else []}


def _edge(grid: np.ndarray, rule: np.ndarray) -> float:
    """Return where a step lies: in the middle between the two values that it falls between."""
    i = int(np.argmax(rule > 0.5))
    return float(grid[max(i - 1, 0) : i + 1].mean())


def _crossing(grid: np.ndarray, probability: np.ndarray) -> str:
    """Say where a curve first crosses one half."""
    at = np.flatnonzero(np.diff(probability > 0.5))
    return f"{grid[at[0] : at[0] + 2].mean():.2f}" if at.size else "none"


def _training(fits: Sequence[Fit]) -> Section:
    """Return a panel per model: training and held-out bound."""
    histories: dict[str, list[Any]] = {}
    for fit in fits:
        if fit.history is not None:
            histories.setdefault(fit.method, []).append(fit.history)
    panels: list[Panel] = []
    for name, runs in histories.items():
        drawn = figures.training_curves(runs, _colour(name))
        panels.append({"title": name, "image": figures.embed(drawn, _say_training(name, runs[0]))})
    caption = (
        "The bound on the log-likelihood that training raises, on the rows it learns from (grey) "
        "and on a tenth of the training rows that it does not learn from (coloured). The dot is "
        "where the weights that were kept come from: the highest bound on the rows kept aside, "
        "which needs no true value. Bounds of MIWAE leave the mask out, and cannot be compared "
        "with the others. The lowest bounds may lie below the frame."
    )
    if any(len(runs) > 1 for runs in histories.values()):
        caption += " Fainter lines are further seeds."
    legend = [
        _key("rows it learns from", "#98a3ae", "line"),
        _key("rows kept aside", figures.INK, "line"),
        _key("weights kept", figures.INK, "dot"),
    ]
    block = page.figure(
        caption, panels, columns=3, legend=legend, across="training step", up="bound per row, nats"
    )
    return {"title": "How training went", "blocks": [block] if panels else []}


def _say_training(name: str, history: Any) -> str:
    bounds = history["validation_bound"] or history["bound"]
    return (
        f"{name}: the bound rises from {bounds[0]:.1f} nats per row to {bounds[-1]:.1f} after "
        f"{history['step'][-1]} steps; the weights kept are those of step {history['best_step']}."
    )


def _method(results: Results) -> Section:
    """Return how the study was done, in plain words."""
    about = results.metadata
    deleted = (
        f"The data are {about['n_training_rows'] + about['n_held_out_rows']} tumours, each with "
        f"{about['n_columns']} measurements of its cell nuclei, all of them known. A fifth of the "
        "rows was held out. Every column was scaled by the mean and standard deviation of its "
        f"training rows. In the first {about['n_amputed_columns']} columns, every value above the "
        "mean of the column’s training rows was deleted, in training rows and held-out rows alike."
    )
    why = (
        "Such values are missing not at random (MNAR): whether one is missing depends on what it "
        "would have been. Sensors that saturate and high incomes that are not stated leave such "
        "gaps. What remains of a column is its lower half, so a method that takes this for the "
        "whole guesses too low. To learn that a gap means “high”, it takes a model of why values "
        "are missing."
    )
    reading = (
        "RMSE, the root mean squared error, is over missing cells only; 1 is the spread of an "
        "ordinary column, and smaller is better. Every method was fitted to training rows with "
        "gaps and then filled held-out rows that it had not seen. In this run, the true values of "
        "missing cells gave this score and nothing else: no weights were chosen with them."
    )
    names = [entry["method"] for entry in results.held_out()]
    blocks = [
        page.text(deleted, why, reading),
        page.terms({name: METHODS[name] for name in names if name in METHODS}),
    ]
    return {"title": "What was done", "blocks": blocks}


def _limits() -> Section:
    """Return what the numbers do not say."""
    limits = (
        "One data set, one split, and one way to delete values, which suits a self-masking model: "
        "tables whose gaps have another cause may rank the methods otherwise. No spread over "
        "splits is given, and with so few rows another split would move every number. Published "
        "numbers marked * were selected with the true values, and all of them come from slightly "
        "different columns and deleted cells, so they stand beside ours for orientation and not "
        "as a contest. Nothing in a table with real gaps can show whether the assumed mechanism is "
        "the right one."
    )
    return {"title": "What this does not show", "blocks": [page.text(limits)]}


def _provenance(results: Results) -> Section:
    """Return how to run it again."""
    about = results.metadata
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    seeds = ", ".join(map(str, about["seeds"]))
    machine = f"{about['platform']}, {about['cpu_count']} CPUs"
    facts = {
        "Seeds": f"{seeds}; the split and the deleted cells are the same for all.",
        "Versions": versions + ".",
        "Machine": f"{machine}, {about['duration_seconds']:.0f} s.",
    }
    if about["not_run"]:
        facts["Not in this run"] = ", ".join(about["not_run"]) + "."
    said = dict.fromkeys(f"{row.method}: {note}" for row in results.rows for note in row.notes)
    if said:
        facts["Said while fitting"] = " ".join(said)
    return {
        "title": "Run it again",
        "blocks": [
            page.code(about["command"]),
            page.terms(facts),
            page.text("All numbers are in results.json and results.csv, next to this page."),
        ],
    }


def _first_seed(fits: Sequence[Fit]) -> list[Fit]:
    first = min(fit.seed for fit in fits)
    return [fit for fit in fits if fit.seed == first]


def _marginal(method: str) -> bool:
    """Whether a mechanism looks at other columns too."""
    return method.removeprefix("not-MIWAE ") in ("auto", "at-random", "linear", "nonlinear")


def _colour(method: str) -> str:
    """Return a method's colour, the same in all figures."""
    return COLOURS.get(method, BASELINE)


def _key(label: str, colour: str, mark: str) -> Key:
    return {"label": label, "colour": colour, "mark": mark}
