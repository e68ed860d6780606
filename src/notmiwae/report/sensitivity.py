"""A sensitivity analysis as a section of a page, or as a page of its own."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from notmiwae import __version__, report
from notmiwae.departures import DEPARTURES
from notmiwae.report import figures, page
from notmiwae.report.page import Key, Section
from notmiwae.sensitivity import Sweep, draw

KEYS: list[Key] = [
    {"label": "estimate", "colour": "#0072b2", "mark": "line"},
    {"label": "interval", "colour": "#cce3f0", "mark": "area"},
    {"label": "complete cases", "colour": "#d55e00", "mark": "dash"},
]
REFERENCE: list[Key] = [
    {"label": "reference", "colour": "#1f2933", "mark": "line"},
    {"label": "tipping point", "colour": "#1f2933", "mark": "dot"},
]
WHAT = {
    "delta": "Suppose that the missing values are higher, by so many standard deviations of the "
    "observed ones, than the model takes them to be; lower, where the number is negative.",
    "slope": "Suppose that high values went missing more readily than the model takes them to: for "
    "each standard deviation, the odds of being missing are e to this power times as high. What "
    "was observed stays as likely as before.",
}


def section(sweep: Sweep) -> Section:
    """Return what a page says of a sweep: words, the curve, the numbers."""
    image = figures.embed(curve(sweep), f"{sweep.estimand} over {sweep.by}, with its interval.")
    shown = sweep.shown()
    keys = KEYS + (REFERENCE if sweep.reference is not None else [])
    return {
        "title": f"What if the missing values of {sweep.column} are not what they seem?",
        "blocks": [
            page.text(
                "Why values are missing cannot be told from the table alone, so that every "
                f"imputation rests on an assumption about it. {WHAT[sweep.by]} The curve says what "
                "then becomes of the estimate; at 0, it is as the model has it."
            ),
            page.text(str(sweep).replace("\n", " ")),
            page.figure(
                f"The {sweep.estimand}, and its {sweep.coverage:.0%} interval, over {sweep.by} in "
                f"{DEPARTURES[sweep.by].unit}.",
                [{"title": "", "image": image}],
                legend=keys,
            ),
            page.table(
                "Pooled over the completed tables by Rubin’s rules; fmi is the fraction of missing "
                "information, mean_imputed the mean of what was filled in.",
                [sweep.by, *shown.columns],
                [(f"{size:g}", *map(str, line)) for size, *line in shown.itertuples()],
            ),
        ],
    }


@figures.style
def curve(sweep: Sweep) -> Figure:
    """Draw the curve, without its legend."""
    figure = Figure(figsize=(4.4, 2.7), layout="constrained")
    draw(sweep, figure.add_subplot())
    return figure


def page_of(sweep: Sweep, imputer: Any) -> str:
    """Return a page about a sweep as HTML."""
    settings = {
        "Mechanism": str(imputer.selection_),
        "Models": f"{len(imputer.models_)}, "
        + ("each of a bootstrap sample of its own" if imputer.bootstrap else "no bootstrap"),
        "Seed": str(imputer.random_state),
    }
    about: Section = {"title": "How it was made", "blocks": [page.terms(settings)]}
    return report.render(
        {
            "title": f"The {sweep.estimand}, and what it rests on",
            "kicker": "Sensitivity analysis",
            "lead": str(sweep).splitlines()[0],
            "facts": [("models", f"{len(imputer.models_)}"), ("interval", f"{sweep.coverage:.0%}")],
            "sections": [section(sweep), about],
            "footer": f"Made by notmiwae {__version__}.",
        }
    )
