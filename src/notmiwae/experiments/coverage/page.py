"""What the page of `notmiwae.experiments.coverage` says and shows."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path

from notmiwae import report
from notmiwae.experiments import coverage
from notmiwae.experiments.coverage.methods import METHODS
from notmiwae.experiments.coverage.problem import COEFFICIENT, DELETIONS, MEAN
from notmiwae.experiments.provenance import provenance
from notmiwae.experiments.results import write_text
from notmiwae.report import figures, page
from notmiwae.report.figures import Dots
from notmiwae.report.page import Block, Page, Section

TITLES = {
    "mean": f"The mean income, which is {MEAN:g}",
    "coefficient": f"What a year of education brings, which is {COEFFICIENT:g}",
}
UNDER = {
    "MCAR": "Missing by chance",
    "MAR": "Missing by other columns",
    "self-masking": "Missing by what they are",
}
OURS = "not-MIWAE self-masking"


def write(results: coverage.CoverageResults, output: Path) -> None:
    """Write ``report.html``."""
    write_text(output / "report.html", report.render(make_page(results)))


def make_page(results: coverage.CoverageResults) -> Page:
    """Return the page for a run, for `notmiwae.report.render`."""
    about = results.metadata
    performance = results.performance()
    counts = {
        UNDER[deletion]: str(next(iter(by.values())).n_simulations)
        for deletion, by in performance["mean"].items()
    }
    return {
        "title": "Does a 95% interval hold the truth 95 times in 100?",
        "kicker": f"Simulated surveys · preset {about['preset']}",
        "lead": (
            f"Surveys of {about['n_people']} people were made up, and about four incomes in ten "
            "deleted, in three ways. Each method gave intervals for two numbers that are known "
            "here. This page counts how often they held them, and how wide they had to be."
        ),
        "facts": [(f"surveys: {name.lower()}", count) for name, count in counts.items()],
        "sections": [
            *(_estimand(name, by) for name, by in performance.items()),
            _method(),
            provenance(results, {}),
        ],
        "footer": f"Made by notmiwae {about['versions']['notmiwae']}.",
    }


def _estimand(name: str, by: Mapping[str, Mapping[str, coverage.Performance]]) -> Section:
    """Return the chart of coverage and the tables of an estimand."""
    return {
        "title": TITLES[name],
        "blocks": [_chart(by), *(_table(deletion, found) for deletion, found in by.items())],
    }


def _chart(by: Mapping[str, Mapping[str, coverage.Performance]]) -> Block:
    # Short names: the panels are narrow.
    charts = {
        deletion: [
            Dots(method, [100 * one.coverage], figures.PALETTE[method != OURS])
            for method, one in found.items()
        ]
        for deletion, found in by.items()
    }
    label = "intervals that hold the truth, %"
    chart = figures.dot_charts(charts, label)
    for axes in chart.axes:
        axes.axvline(100 * coverage.NOMINAL, color=figures.MUTED, linewidth=0.8, zorder=1)
        axes.set_xlim(-4, 104)
    shown = "; ".join(
        f"{UNDER[deletion].lower()}: "
        + ", ".join(f"{method} {one.coverage:.0%}" for method, one in found.items())
        for deletion, found in by.items()
    )
    image = figures.embed(chart, f"Coverage by method. {shown}.")
    caption = "How often the interval holds the truth; the line is at 95%, what it promises."
    return page.figure(caption, [{"title": "", "image": image}])


def _table(deletion: str, found: Mapping[str, coverage.Performance]) -> Block:
    return page.table(
        f"{UNDER[deletion]} ({deletion}): coverage ± its standard error, bias, standard deviation "
        "of the estimates over surveys, mean standard error that was claimed, mean width",
        ["Method", "Coverage", "Bias", "Spread", "Claimed", "Width"],
        [(method, *cells(one)) for method, one in found.items()],
    )


def cells(one: coverage.Performance) -> tuple[str, ...]:
    """Return a line of a table as text."""
    numbers = (one.bias, one.spread, one.std_error, one.width)
    share = f"{one.coverage:.1%} ± {one.coverage_error:.1%}"
    return share, *(f"{number:.2f}".replace("-", "−") for number in numbers)


def _method() -> Section:
    """Say what was deleted, and what each method does."""
    deletions = {UNDER[name]: inspect.getdoc(rule) or "" for name, rule in DELETIONS.items()}
    methods = {name: inspect.getdoc(method) or "" for name, method in METHODS.items()}
    return {
        "title": "How it was done",
        "blocks": [
            page.text(
                "Income depends on age and education by a straight line, with normal noise. A "
                "method sees which incomes are missing, and not what they were. Several completed "
                "tables are analysed one by one and pooled by Rubin’s rules.",
                "The number of steps and the learning rate were chosen by how near estimates come "
                "to those of maximum likelihood, not by the truth.",
            ),
            page.terms({**deletions, **methods}),
        ],
    }
