"""What the page of `notmiwae.experiments.breast` says."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path

from notmiwae import report
from notmiwae.experiments.arrays import KeptArrays
from notmiwae.experiments.baselines import BASELINES
from notmiwae.experiments.benchmark import Benchmark
from notmiwae.experiments.breast import ablation, figures, tables
from notmiwae.experiments.breast.figures import TITLES
from notmiwae.experiments.breast.methods import DEFAULT, KNOWN
from notmiwae.experiments.breast.problem import Problem, make_problem
from notmiwae.experiments.provenance import provenance
from notmiwae.experiments.results import HELD_OUT, write_text
from notmiwae.report import page
from notmiwae.report.page import Page, Section

METHODS = {
    "MIWAE": "A neural network learns how the columns vary together, from the values that are "
    "there. It takes for granted that why a value is missing has nothing to do with what it was.",
    KNOWN: "MIWAE with a model of the gaps, learned at the same time, "
    "that is told that high values go missing, but not from where on.",
    "not-MIWAE self-masking-quadratic": "The same, told nothing, where the middle or both ends of "
    "a column may go missing, or one side.",
    "not-MIWAE self-masking-spline": "The same with a probability that may bend freely along the "
    "value.",
    DEFAULT: "NotMIWAEImputer() as it comes, told nothing: it trains several mechanisms, compares "
    "them on rows that it put aside, and keeps the one that explains these best.",
    "as reported: self-masking": "The report’s networks and training. Whether a value is missing "
    "depends on the value itself: high ones go missing, or low ones, learned for each column.",
    "as reported: self-masking-known": "The same, told that high values go missing, which is so in "
    "Table 1 only.",
    "as reported: linear": "Whether a value is missing depends on all columns of its row, by a "
    "weighted sum.",
    "as reported: nonlinear": "The same by a small neural network.",
}


def write(results: Benchmark, kept: KeptArrays, output: Path) -> None:
    """Write ``report.html``."""
    write_text(output / "report.html", report.render(make_page(results, kept)))


def make_page(results: Benchmark, kept: KeptArrays) -> Page:
    """Return the page for a run, for `notmiwae.report.render`."""
    about = results.metadata
    problems = {name: make_problem(name, about["n_columns"]) for name in results.datasets}
    size = next(iter(about["data"].values()))
    sections = [
        tables.short(results),
        *(tables.table(results, name) for name in results.datasets),
        _filled(problems, kept),
        _learned(problems, kept),
        _trained(results.datasets, kept),
        ablation.section(results, kept),
        tables.leakage(results),
        tables.binary(results),
        _method(results),
        _limits(),
        provenance(results, {"Said while fitting": said} if (said := _said(results)) else {}),
    ]
    return {
        "title": "What was deleted, and what comes back?",
        "kicker": f"Breast cancer data · preset {about['preset']}",
        "lead": (
            f"From {size['n_amputed_columns']} of {size['n_columns']} columns values were deleted "
            "because of what they were, in three ways. Each method then filled the gaps without "
            "seeing what had been there. This page sets its errors beside those that a report of "
            "2024 printed, and shows where these came from."
        ),
        "facts": [
            ("rows to learn from", str(size["n_training_rows"])),
            ("rows held out", str(size["n_held_out_rows"])),
            ("ways to delete", str(len(problems))),
            ("methods", str(len(results.measured(HELD_OUT)))),
            ("seed" if len(about["seeds"]) == 1 else "seeds", str(len(about["seeds"]))),
        ],
        "sections": [section for section in sections if section["blocks"]],
        "footer": f"Made by notmiwae {about['versions']['notmiwae']}.",
    }


def _filled(problems: Mapping[str, Problem], kept: KeptArrays) -> Section:
    """Return imputed against true values, by column."""
    found = [figures.imputations(problem, name, kept) for name, problem in problems.items()]
    return {"title": "What was filled in", "blocks": [block for block in found if block]}


def _learned(problems: Mapping[str, Problem], kept: KeptArrays) -> Section:
    """Return learned missingness curves, by column."""
    blocks = [
        block
        for name, problem in problems.items()
        for block in figures.mechanisms(problem, name, kept)
    ]
    introduction = (
        "The learned probability that a value is missing, given what it is. The shaded step is how "
        "values were deleted in truth; a good model rises and falls where it does. Dashed lines "
        "belong to models in which other columns count as well: these keep the values of the "
        "held-out rows as that model filled them, and the line is the mean over these rows. First "
        "seed; the report’s models are the Gaussian ones."
    )
    blocks = [page.text(introduction), *blocks] if blocks else []
    return {"title": "What was learned about the gaps", "blocks": blocks}


def _trained(names: Sequence[str], kept: KeptArrays) -> Section:
    """Return how training went."""
    found = [figures.training(names, kept), figures.errors_seen(names, kept)]
    return {"title": "How training went", "blocks": [block for block in found if block]}


def _method(results: Benchmark) -> Section:
    """Return how the study was done, in plain words."""
    about = results.metadata
    size = next(iter(about["data"].values()))
    data = (
        f"The data are {size['n_training_rows'] + size['n_held_out_rows']} tumours, each with "
        f"{size['n_columns']} measurements of its cell nuclei, all of them known (the report cut "
        "off the last of 30). A fifth of the rows was held out, the same for all seeds. Every "
        "column was scaled by the mean and standard deviation of its training rows. Thresholds of "
        "what goes missing come from the training rows and hold for the held-out rows too."
    )
    why = (
        "Such values are missing not at random (MNAR): whether one is missing depends on what it "
        "would have been. Sensors that saturate and high incomes that are not stated leave such "
        "gaps. What remains of a column is a part of it, and a method that takes this for the "
        "whole fills in the wrong values. To learn from a gap what was there, it takes a model of "
        "why values are missing: a mechanism."
    )
    models = (
        "A model of the family of not-MIWAE has three parts, learned together: a decoder, which "
        "turns a few hidden numbers into the columns of a row; an encoder, which guesses the "
        "hidden numbers from the values that are there; and the mechanism, which says how likely "
        "each cell is to be missing, given the values. Training raises a bound on the probability "
        "of all that is seen: values and gaps. A gap is filled with the average of what the model "
        "holds possible there, weighted by how well it explains the rest of the row and the gaps."
    )
    settings = (
        "With the report’s settings: two hidden layers of 128, ten hidden numbers, the optimiser "
        "Adam with a learning rate of 0.0001 that rises for a fifth of the training and then "
        f"falls to almost nothing, batches of 32 rows, {about['n_epochs']} epochs, five draws of "
        "the hidden numbers per row. Missing cells are drawn, as there; the bound and what is "
        "filled in are ours. Our own methods run with the library’s defaults, but for the "
        "mechanism where it is named."
    )
    used = {kind(row.method) for row in results.rows}
    baselines = {
        name: inspect.cleandoc(make.__doc__ or "").split("\n")[0]
        for name, make in BASELINES.items()
    }
    named = {name: about for name, about in {**baselines, **METHODS}.items() if name in used}
    return {
        "title": "What was done",
        "blocks": [page.text(data, why, models, settings), page.terms(named)],
    }


def kind(method: str) -> str:
    """Return a method's name without the observation distribution of a model of the report."""
    return method.split(",")[0] if method.startswith("as reported") else method


def _limits() -> Section:
    """Return what the numbers do not say."""
    limits = (
        "One data set and one split; no spread over splits is given, and with so few rows another "
        "split would move every number. Values went missing by rules that depend on the value "
        "alone, which suits self-masking models: tables whose gaps have another cause may rank the "
        "methods otherwise. Published numbers marked * were selected with the true values, come "
        "from one seed and from slightly different deleted cells, so they stand beside ours for "
        "orientation and not as a contest. Nothing in a table with real gaps can show whether the "
        "assumed mechanism is the right one."
    )
    return {"title": "What this does not show", "blocks": [page.text(limits)]}


def _said(results: Benchmark) -> str:
    """Return what methods noted with the first seed."""
    first = results.metadata["seeds"][0]
    said = (
        f"{TITLES[row.data].split(':')[0]}, {row.method}: {note}."
        for row in results.rows
        for note in row.notes
        if row.seed == first
    )
    return " ".join(dict.fromkeys(said))
