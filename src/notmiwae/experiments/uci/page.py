"""What the page and the figure of `notmiwae.experiments.uci` say and show."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from notmiwae import report
from notmiwae.experiments.baselines import BASELINES
from notmiwae.experiments.benchmark import Benchmark
from notmiwae.experiments.provenance import provenance
from notmiwae.experiments.results import HELD_OUT, spread, write_text
from notmiwae.experiments.uci import DEFAULT, LINEAR, TRANSDUCTIVE
from notmiwae.report import figures, page
from notmiwae.report.figures import Dots
from notmiwae.report.page import Block, Key, Page, Panel, Section

FLEXIBLE, STRAIGHT, UNTOUCHED, BASELINE = "#0072b2", "#d55e00", "#7a3e9d", "#7b8794"
ERROR = "RMSE, in standard deviations of a column"

MODELS = {
    "MIWAE": "A neural network learns how the columns vary together, from the values that are "
    "there. It takes for granted that why a value is missing has nothing to do with what it was.",
    "not-MIWAE at-random": "MIWAE with a model of the gaps, learned at the same time, in which "
    "only complete columns count.",
    "not-MIWAE self-masking": "Whether a value is missing depends on the value itself: high ones "
    "go missing, or low ones, and which of the two is learned for each column.",
    "not-MIWAE self-masking-known": "Self-masking that is told that high values go missing.",
    "not-MIWAE self-masking-quadratic": "Self-masking in which the middle or both ends of a column "
    "may go missing as well.",
    "not-MIWAE self-masking-spline": "Self-masking in which the probability may bend freely along "
    "the value.",
    "not-MIWAE linear": "Whether a value is missing may depend on all columns of its row, by a "
    "weighted sum. The paper calls it agnostic.",
    "not-MIWAE nonlinear": "The same as linear, by a small neural network.",
    DEFAULT: "NotMIWAEImputer() as it comes, told nothing: it trains several mechanisms, compares "
    "them on rows that it put aside, and keeps the one that explains these best.",
    "…" + LINEAR: "The same with a straight-line decoder: the columns are weighted sums of the "
    "latent variables, plus noise. The paper's PPCA rows are its kin, with one noise scale for all "
    "columns where ours has one for each.",
}


def write(results: Benchmark, output: Path) -> None:
    """Write ``rmse.svg`` and ``report.html``."""
    chart = figures.dot_charts(charts(results, results.splits[0]), ERROR)
    chart.set_facecolor("white")  # it may be shown on a dark page
    write_text(output / "rmse.svg", figures.to_svg(chart))
    write_text(output / "report.html", report.render(make_page(results)))


def make_page(results: Benchmark) -> Page:
    """Return the page for a run, for `notmiwae.report.render`."""
    about = results.metadata
    sections = [
        *(_errors(results, split) for split in results.splits),
        _beside(results),
        _choices(results),
        _method(results),
        _limits(),
        provenance(results, _datasets(results)),
    ]
    return {
        "title": "What was above the mean, table by table?",
        "kicker": f"UCI data sets · preset {about['preset']}",
        "lead": (
            "In the first half of a table’s columns, every value above the column’s mean was "
            "deleted. Each method then filled the gaps without seeing what had been there. This "
            "page sets its errors beside those that the paper on not-MIWAE printed."
        ),
        "facts": [
            ("data sets", str(len(results.datasets))),
            ("methods", str(len({row.method for row in results.rows}))),
            ("published methods", str(len(results.competitors(TRANSDUCTIVE)))),
            ("missing cells", f"{sum(d['n_missing_cells'] for d in about['data'].values()):,}"),
            ("seed" if len(about["seeds"]) == 1 else "seeds", str(len(about["seeds"]))),
        ],
        "sections": [section for section in sections if section["blocks"]],
        "footer": f"Made by notmiwae {about['versions']['notmiwae']}.",
    }


def _errors(results: Benchmark, split: str) -> Section:
    """Return the table and the charts of a protocol."""
    ranks = results.ranks(split)
    rows = [*results.matrix(split), *results.published_matrix(split)]
    best = min(ranks, key=ranks.__getitem__)
    introduction = (
        f"The lowest mean rank is that of {best}, {ranks[best]:.2f} among {len(ranks)} methods. On "
        "each data set, methods are ranked by their mean error, from 1 for the least, and the "
        "ranks are averaged over the data sets."
    )
    titles = {
        TRANSDUCTIVE: "How far off, on the rows learned from",
        HELD_OUT: "How far off, on rows held out",
    }
    caption = f"{ERROR}, over missing cells"
    if len(results.metadata["seeds"]) > 1:
        caption += "; mean ± standard deviation over seeds, without the latter where it is zero"
    header = ("Method", *(data.capitalize() for data in results.datasets), "Mean rank")
    table = page.table(
        caption,
        header,
        rows,
        notes=results.notes() if results.competitors(split) else (),
        best=[row[0] for row in rows].index(best),
    )
    return {
        "title": titles[split],
        "blocks": [page.text(introduction), table, _figure(results, split)],
    }


def charts(results: Benchmark, split: str) -> dict[str, list[Dots]]:
    """Return dots by the data set's title, the two decoders of a model on one line."""
    return {data.capitalize(): _dots(results, split, data) for data in results.datasets}


def _dots(results: Benchmark, split: str, data: str) -> list[Dots]:
    errors: dict[str, list[float]] = {}
    for row in results.rows:
        if (row.split, row.data) == (split, data):
            errors.setdefault(row.method, []).append(row.metrics[results.metric])
    numbers = results.published.get(data, {}) if split == results.published_split else {}
    dots = []
    for method in [*errors, *(name for name in numbers if name not in errors)]:
        number = numbers.get(method)
        dots.append(
            Dots(
                method.removesuffix(LINEAR),
                errors.get(method, []),
                _colour(method),
                number.value if number else None,
                "o" if method.endswith(LINEAR) else "D",
            )
        )
    return dots


def _colour(method: str) -> str:
    if method in BASELINES:
        return BASELINE
    if method == DEFAULT:
        return UNTOUCHED
    return STRAIGHT if method.endswith(LINEAR) else FLEXIBLE


def _figure(results: Benchmark, split: str) -> Block:
    """Return a panel per data set."""
    panels: list[Panel] = []
    entries = results.of_split(split)
    for data in results.datasets:
        chart = figures.dot_chart(_dots(results, split, data), ERROR)
        said = [_say(results, entry) for entry in entries if entry["data"] == data]
        alt = f"{data.capitalize()}, root mean squared error by method: {'; '.join(said)}."
        panels.append({"title": data.capitalize(), "image": figures.embed(chart, alt)})
    caption = "Further left is better."
    if results.competitors(split):
        caption += (
            " Hollow marks are published numbers, on the line of our method of the same kind."
        )
    return page.figure(caption, panels, columns=2, legend=_legend(results, split))


def _say(results: Benchmark, entry: dict[str, Any]) -> str:
    number = results.published_number(entry)
    published = f" (published {number})" if number else ""
    return f"{entry['method']} {spread(entry[results.metric])}{published}"


def _legend(results: Benchmark, split: str) -> list[Key]:
    colours = {
        "baseline": BASELINE,
        "linear decoder and network": FLEXIBLE,
        "linear decoder": STRAIGHT,
        "the default": UNTOUCHED,
    }
    used = {_colour(row.method) for row in results.rows if row.split == split}
    legend = [_key(name, colour, "dot") for name, colour in colours.items() if colour in used]
    if len(results.metadata["seeds"]) > 1:
        legend.append(_key("each seed", figures.INK, "tick"))
    if results.competitors(split):
        legend.append(_key("published", figures.MUTED, "diamond"))
        legend.append(_key("published, linear decoder", figures.MUTED, "ring"))
    return legend


def _key(label: str, colour: str, mark: str) -> Key:
    return {"label": label, "colour": colour, "mark": mark}


def _beside(results: Benchmark) -> Section:
    """Return our mean errors beside those published for the same kind of method."""

    def pair(entry: dict[str, Any]) -> tuple[str, str]:
        return f"{entry[results.metric]['mean']:.3f}", results.published_text(entry)

    theirs = {
        method: number.name
        for numbers in results.published.values()
        for method, number in numbers.items()
    }
    rows = [
        (method, theirs[method], *(cell for entry in entries.values() for cell in pair(entry)))
        for method, entries in results.measured(TRANSDUCTIVE).items()
        if method in theirs
    ]
    header = ["Method", "In the paper"]
    for data in results.datasets:
        header += [data.capitalize(), "published"]
    caption = "Mean RMSE over seeds beside the paper’s; transductive"
    table = page.table(caption, header, rows, notes=results.notes())
    return {"title": "Beside the published numbers", "blocks": [table] if rows else []}


def _choices(results: Benchmark) -> Section:
    """Return what the default chose for each data set."""
    first = results.metadata["seeds"][0]
    said = {
        f"{row.data.capitalize()}, {row.split}": f"{'. '.join(row.notes)}."
        for row in results.rows
        if row.method == DEFAULT and row.seed == first
    }
    introduction = (
        "The default compares mechanisms on a part of the rows that it learns from, by how well "
        "they explain values and gaps there, and keeps a more flexible one only where that pays. "
        "True values of missing cells have no say in it. First seed:"
    )
    blocks = [page.text(introduction), page.terms(said)] if said else []
    return {"title": "What the default chose", "blocks": blocks}


def _method(results: Benchmark) -> Section:
    """Return how the study was done, in plain words."""
    deleted = (
        "All tables are complete, so that errors can be measured; the column to be predicted is "
        "left out. In the first half of the columns (rounded down), every value above the column’s "
        "mean was deleted. Such values are missing not at random: whether one is missing depends "
        "on what it would have been. What remains of a column is its lower part, so a method that "
        "takes this for the whole guesses too low."
    )
    protocols = (
        "Transductive, as in the paper: every column was scaled by the mean and standard deviation "
        "of all its rows, values above that mean were deleted, and each method was fitted to the "
        "table with gaps and then filled these same gaps."
    )
    if HELD_OUT in results.splits:
        protocols += (
            " Held-out: a fifth of the rows, drawn anew for each seed, was put aside. Scales and "
            "thresholds came from the other rows, each method was fitted to those, and it filled "
            "the rows put aside, which it had not seen."
        )
    reading = (
        "RMSE, the root mean squared error, is over missing cells only; 1 is the spread of a "
        "column, and smaller is better. True values of missing cells gave this score and nothing "
        "else: no settings and no weights were chosen with them."
    )
    used = {row.method for row in results.rows}
    baselines = {
        name: inspect.cleandoc(make.__doc__ or "").split("\n")[0]
        for name, make in BASELINES.items()
        if name in used
    }
    names = {name.removesuffix(LINEAR) for name in used}
    if any(name.endswith(LINEAR) for name in used):
        names.add("…" + LINEAR)
    models = {name: text for name, text in MODELS.items() if name in names}
    blocks = [page.text(deleted, protocols, reading), page.terms({**baselines, **models})]
    return {"title": "What was done", "blocks": blocks}


def _limits() -> Section:
    """Return what the numbers do not say."""
    limits = (
        "All gaps were made by one rule, which suits a self-masking model: tables whose gaps have "
        "another cause may rank the methods otherwise. The published numbers were read from the "
        "paper’s table, two decimals each, and its copy of Yeast differs from ours: filling in the "
        "column’s mean gives 1.69 there and 1.73 here. A mean rank depends on which methods take "
        "part, and says nothing of how large a difference is. Nothing in a table with real gaps "
        "can show whether the assumed mechanism is the right one."
    )
    return {"title": "What this does not show", "blocks": [page.text(limits)]}


def _datasets(results: Benchmark) -> dict[str, str]:
    """Describe each data set."""
    return {
        data.capitalize(): f"{size['n_rows']} rows, {size['n_columns']} columns, "
        f"{size['n_missing_cells']} missing cells. {size['source']}"
        for data, size in results.metadata["data"].items()
    }
