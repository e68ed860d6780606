"""What a report on an imputation says in words."""

from __future__ import annotations

import platform
import shlex
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from notmiwae import __version__
from notmiwae._glossary import MECHANISM_MEANINGS, OBSERVATION_MEANINGS
from notmiwae.report.imputation.findings import Apart, Findings

STRONG, SOME, APART = 0.5, 0.15, 0.15
"""Ranges of a learned probability, and a disagreement between models, that are worth a word."""

PACKAGES = ("numpy", "pandas", "scikit-learn", "torch")

DIAGNOSTICS = (
    "Effective draws: on how many weighted draws a filled value rests; below 10 it is shaky. "
    "Pareto k: beyond 0.7 the average of the draws does not settle, however many there are. "
    "Disagreement: how far the models that are averaged lie apart, in standard deviations; beyond "
    "0.5 the data do not settle what is missing. A dash: not available."
)

LIMITS = {
    "What can be said": (
        "Which of several explanations makes rows that were held out most probable, given the "
        "model of the data; and how rows with a hole differ from others in what is observed."
    ),
    "What cannot": (
        "Whether values are missing because of what they are. The missing values would settle it, "
        "and they are not there: another model, with other values in the holes, can explain the "
        "same table as well. No test and no comparison changes that. What you know of how the data "
        "came about weighs more than any number here."
    ),
    "What follows": (
        "If a conclusion hinges on the filled values, impute again under another mechanism, and "
        "see whether it survives."
    ),
}


def number(value: float) -> str:
    """Say a number in four digits or so."""
    if value is None or not np.isfinite(value):
        return "–"
    if value and not 1e-3 <= abs(value) < 1e6:
        return minus(f"{value:.3g}")
    decimals = max(0, 3 - int(np.floor(np.log10(abs(value))))) if value else 0
    return minus(f"{value:,.{min(decimals, 4)}f}")


def probability(value: float) -> str:
    """Say a probability, or the spread of one; a dash where there is none."""
    return "–" if np.isnan(value) else f"{value:.2f}"


def minus(text: str) -> str:
    """Set a number with a minus sign, which is as wide as a plus."""
    return text.replace("-", "−")


def percent(share: float) -> str:
    """Say a share."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    return f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"


def models_mechanism(found: Findings) -> bool:
    """Whether the model says anything of why values are missing."""
    said = found.mechanism["finding"]
    return bool(found.modelled) and not (said == "not modelled").all()


def finding(found: Findings, name: str) -> str:
    """Say which values of a column go missing."""
    return str(found.mechanism.loc[name, "finding"])


def reach(line: pd.Series) -> float:
    """Return how much the probability of being missing varies over a column, given its summary."""
    return float(np.ptp([line["at_low"], line["at_mean"], line["at_high"]]))


def sign(line: pd.Series) -> str:
    """Say how strong the signs are that a column's value itself decides, given its summary."""
    span = reach(line)
    if np.isnan(span):  # of labels
        return str(line["finding"])
    strength = "strong" if span > STRONG else "some" if span > SOME else "none visible"
    said = strength if strength == "none visible" else f"{strength}: {line['finding']}"
    if line["spread"] > APART:
        said += ", but the models differ"
    return said


def in_short(found: Findings) -> list[str]:
    """Two or three sentences."""
    n_rows, n_columns = found.values.shape
    n_missing = int(found.missing.to_numpy().sum())
    share = percent(found.missing.to_numpy().mean())
    if not n_missing:
        return [f"None of the {n_rows:,} rows had a hole: there was nothing to fill."]
    said = (
        f"Of {n_rows:,} rows and {n_columns} columns, {share} of "
        f"the cells were missing: {n_missing:,} cells, in {len(found.holed)} columns and "
        f"{percent(found.n_holed_rows / n_rows)} of the rows. Every one of them was filled; what "
        "was observed is unchanged."
    )
    bad = 1 - found.diagnosis["trusted"].mean()
    if bad > 0.05:
        warning = (
            f"The imputations of {percent(bad)} of {looked_at(found)} should not be trusted: see "
            "below."
        )
    else:
        warning = "By the checks below, nothing speaks against the imputations of " + (
            "any row." if bad == 0 else f"all but {percent(bad)} of {looked_at(found)}."
        )
    return [said, f"{chosen(found)} {warning}"]


def chosen(found: Findings) -> str:
    """Say what is assumed of why values are missing."""
    selection = found.imputer.selection_
    meaning = MECHANISM_MEANINGS.get(selection.chosen.split(",")[0], "")
    how = "was kept among those compared" if len(selection.bounds) > 1 else "was given"
    said = f"The mechanism “{selection.chosen}” {how}{': ' if meaning else ''}{meaning}."
    compared = set(selection.bounds) - {selection.chosen}
    if others := [f"“{name}”" for name in found.imputer.mechanisms_ if name in compared]:
        said += f" It is averaged with {', '.join(others)}, which explain the table about as well."
    if found.imputer.rehearsal_ is not None:
        said += f" Of its decoder: {found.imputer.rehearsal_}."
    return said


def looked_at(found: Findings) -> str:
    """Say which rows were looked at closely."""
    if len(found.rows) < found.n_holed_rows:
        return f"{len(found.rows):,} rows with holes, drawn by chance from {found.n_holed_rows:,},"
    return f"the {len(found.rows):,} rows with holes"


def where(found: Findings) -> list[str]:
    """Say how many rows are complete."""
    complete = len(found.values) - found.n_holed_rows
    return [
        f"{complete:,} of {len(found.values):,} rows ({percent(complete / len(found.values))}) are "
        "complete. An analysis that drops the others uses no more than these, and is right only if "
        "they were left complete by chance."
    ]


def apart(most: Apart | None) -> str:
    """Say in what rows that miss a column differ most from the others."""
    if most is None:
        return "–"
    said = minus(f"{most.difference:+.2f} sd in ") + most.column
    return said if most.real else f"{said}, which may be chance"


def pattern(present: NDArray[np.bool_], names: Sequence[str]) -> str:
    """Say what is missing in a pattern."""
    absent = [name for name, there in zip(names, present, strict=True) if not there]
    return f"without {', '.join(absent)}" if absent else "nothing is missing"


def why(found: Findings) -> list[str]:
    """Introduce what was learned of the mechanism."""
    selection = found.imputer.selection_
    if len(selection.bounds) > 1:
        said = (
            "Several explanations were tried: that values are missing at random, given what else "
            "is in the row; that a value goes missing beyond a threshold; that it does so in any "
            f"part of its range. {chosen(found)}"
        )
    else:
        said = f"{chosen(found)} Nothing was compared with it."
    if not models_mechanism(found):
        said += (
            " Under it, that a value is missing says nothing about the value, so that no column "
            "can show a sign of the contrary here."
        )
    return [said]


def trust(found: Findings) -> list[str]:
    """Say how many rows are not to be trusted, and why."""
    bad = found.diagnosis[~found.diagnosis["trusted"]]
    if not len(bad):
        return [f"None of {looked_at(found)} shows a sign of trouble in the computation."]
    return [
        f"{len(bad):,} of {looked_at(found)} show a sign of trouble: fewer than 10 effective draws "
        f"in {(bad['effective_sample_size'] < 10).sum():,}, a Pareto k beyond 0.7 in "
        f"{(bad['pareto_k'] > 0.7).sum():,}, models that disagree in "
        f"{(bad['disagreement'] > 0.5).sum():,}. For the first two, more importance samples "
        "help (n_impute_samples, --samples); for the last, only more knowledge of why values are "
        "missing."
    ]


def caution(found: Findings, column: str, max_rows: int) -> str:
    """Say what the intervals of a sweep leave out, and how to go on."""
    said = ""
    if len(found.values) > max_rows:
        said += f"Of {max_rows:,} rows, drawn by chance. "
    if not getattr(found.imputer, "bootstrap", False):
        said += (
            "The intervals leave out what is not known of the model, and are too narrow: the "
            "models were not fitted to bootstrap samples. "
        )
    command = f"notmiwae sensitivity TABLE --column {shlex.quote(column)}"
    return f"{said}For other columns and questions: {command}."


def training(found: Findings) -> str:
    """Say how many models were trained, and how many are averaged."""
    imputer = found.imputer
    n_compared, n_kept = len(imputer.selection_.bounds), len(imputer.models_)
    said = f"Each of {n_compared} mechanisms was tried by one model. " if n_compared > 1 else ""
    of_each = Counter(imputer.mechanisms_)
    averaged = ", ".join(f"{number} of “{name}”" for name, number in of_each.items())
    said += (
        f"The imputation averages over {n_kept} models, each from a start of its own: {averaged}."
    )
    n_usual = sum(of_each[name] for name in imputer.selection_.bounds)
    if (left := imputer.n_models - n_usual) > 0:
        said += f" {left} more took a wrong turn and is left out."
    return said


def assumptions(found: Findings) -> dict[str, str]:
    """What has to be true, in plain words."""
    imputer = found.imputer
    observation = imputer.observation if isinstance(imputer.observation, str) else "given"
    meaning = OBSERVATION_MEANINGS.get(observation, "as given")
    rows = {
        "Rows": "Each row is a draw of its own from the same population: no row says anything of "
        "another but through what they teach of the population.",
        "Values": f"A low-dimensional state of a row, bent by a small neural network, makes its "
        f"values, with {observation} noise ({meaning}). Where nothing was observed, beyond a "
        "detector's limit, say, this shape alone decides what lies there.",
        "Holes": f"{chosen(found)} Whether one column is missing has nothing to do with whether "
        "another is, beyond what the values say.",
        "Uncertainty": _uncertainty(imputer),
    }
    if not models_mechanism(found):
        rows["Holes"] = f"{chosen(found)} If values are missing because of what they are, the "
        rows["Holes"] += "filled ones are biased, and more rows do not help."
    return rows


def _uncertainty(imputer: Any) -> str:
    if getattr(imputer, "bootstrap", False):
        return (
            "Draws come from models of different bootstrap samples, so that they differ by what is "
            "not known of the model, too."
        )
    return (
        "Intervals are those of a missing value given the model. That the model was itself learned "
        "from these rows is not in them: for an analysis with honest intervals, fit with "
        "bootstrap=True and as many models as draws, and pool."
    )


def settings(found: Findings) -> dict[str, str]:
    """Parameters that are not at their defaults, the seed, and versions."""
    imputer = found.imputer
    defaults = type(imputer)().get_params(deep=False)
    given = {
        name: str(value)
        for name, value in imputer.get_params(deep=False).items()
        if name not in ("verbose", "checkpoint", "random_state")
        and str(value) != str(defaults[name])
    }
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return {
        "imputer": type(imputer).__name__,
        **given,
        "all other settings": f"as by default in notmiwae {__version__}",
        "seed": f"{imputer.random_state} (noise: {imputer.seed_})",
        "columns": ", ".join(found.values.columns),
        "versions": f"notmiwae {__version__}, Python {platform.python_version()}, {versions}",
    }
