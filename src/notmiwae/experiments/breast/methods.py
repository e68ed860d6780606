"""What the breast cancer study compares: a function of problems, seeds and effort each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from notmiwae import MIWAEImputer, NotMIWAEImputer
from notmiwae.experiments.baselines import BASELINES, fit_quietly
from notmiwae.experiments.breast.faults import ALL, FAULTS, NONE
from notmiwae.experiments.breast.problem import Problem, binarised, learned_curves, scores
from notmiwae.experiments.breast.reported import (
    Effort,
    Fit,
    Start,
    fit_binary,
    fit_report,
    score_binary,
)
from notmiwae.experiments.results import HELD_OUT

Method = Callable[[Sequence[Start], Effort], list[Fit]]
"""From problems and seeds to a fit for each of these."""

DEFAULT = "notmiwae, default"

KNOWN = "not-MIWAE self-masking-known"

MODELS: dict[str, Callable[..., Any]] = {
    "MIWAE": MIWAEImputer,
    **{
        f"not-MIWAE {name}": partial(NotMIWAEImputer, name)
        for name in ("self-masking-known", "self-masking-quadratic", "self-masking-spline")
    },
    DEFAULT: NotMIWAEImputer,
}
ONE_BY_ONE = ("missForest", *MODELS)
"""Methods that nothing is gained for by fitting several seeds in one go."""

NAMED = {
    "above-mean": KNOWN,
    "extremes": "not-MIWAE self-masking-quadratic",
    "around-mean": "not-MIWAE self-masking-quadratic",
}
"""The mechanism for each table, named before any result: the one whose form its rule has. High
values go missing in the first; both ends, or the middle, in the others."""

REPORTED = ("self-masking", "self-masking-known", "linear", "nonlinear")
OBSERVATIONS = {"Gaussian": "gaussian", "Student-t": "student-t"}
BINARISED = "binarised"
ABLATION = "ablation"
NO_FAULT, ALL_SIX = "no fault", "all six"
ONES = "1 in every gap"
SWITCHED = {NO_FAULT: NONE, **{name: frozenset({name}) for name in FAULTS}, ALL_SIX: ALL}
OF_THE_SAME_FIT = {NO_FAULT: "rmse", "selection": "rmse_best_seen_own_thresholds"}
"""Members of the ablation that need no fit of their own, and the metric of the sound fit."""


def as_reported(mechanism: str, observation: str) -> str:
    """Return the name of a model of the report, trained with its settings."""
    return f"as reported: {mechanism}, {observation}"


def ablated(mechanism: str, switched: str) -> str:
    """Return the name of the same with a fault."""
    return f"{mechanism}: {switched}"


def one_by_one(fit: Callable[..., Fit], starts: Sequence[Start], effort: Effort) -> list[Fit]:
    """Fit one after the other."""
    return [fit(start.problem, start.seed, effort) for start in starts]


def once(fit: Callable[..., Fit], starts: Sequence[Start], effort: Effort) -> list[Fit]:
    """Fit what no seed makes a difference to, once for each problem."""
    fits: dict[int, Fit] = {}
    for problem, seed in starts:
        if id(problem) not in fits:
            fits[id(problem)] = fit(problem, seed, effort)
    return [fits[id(problem)] for problem, _ in starts]


def fit_baseline(name: str, problem: Problem, seed: int, effort: Effort) -> Fit:
    """Fit a member of `BASELINES` and score it."""
    imputer = BASELINES[name](seed, effort.quick_baselines)
    notes = fit_quietly(imputer, problem.training.holes)
    return Fit(scores(problem, imputer.transform)[0], {}, notes)


def fit_model(name: str, problem: Problem, seed: int, effort: Effort) -> Fit:
    """Fit a member of `MODELS` and score it."""
    # These networks are too small for a GPU to be faster, and results should not depend on one.
    imputer = MODELS[name](random_state=seed, device="cpu", **effort.settings)
    imputer.fit(problem.training.holes)
    errors, imputed = scores(problem, imputer.transform)
    arrays = {"imputed": imputed, **vars(imputer.history_)}
    if name != "MIWAE":
        mechanism, standardise = imputer.model_.mechanism, imputer.preprocessing_.standardise
        arrays["missingness"] = learned_curves(mechanism, problem, imputed, standardise)
    notes = (f"chose {imputer.selection_}",) if name == DEFAULT else ()
    return Fit(errors, arrays, notes)


def share_of_ones(problem: Problem, seed: int, effort: Effort) -> Fit:
    """Fill the binarised table by the share of ones among a column's observed values."""
    problem = binarised(problem)
    imputer = BASELINES["column mean"](seed).fit(problem.training.holes)
    return score_binary(problem.held_out, imputer.transform(problem.held_out.holes))


def ones(problem: Problem, seed: int, effort: Effort) -> Fit:
    """Fill every gap with exp(0), as a decoder that has learned nothing does with all faults."""
    rows = problem.leaky["own_thresholds"]
    return Fit({"rmse": rows.error(np.ones_like(rows.truth))}, {})


METHODS: dict[str, dict[str, Method]] = {
    HELD_OUT: {
        **{
            name: partial(one_by_one if name in ONE_BY_ONE else once, partial(fit_baseline, name))
            for name in BASELINES
        },
        **{name: partial(one_by_one, partial(fit_model, name)) for name in MODELS},
        **{
            as_reported(mechanism, observation): partial(fit_report, mechanism, family, NONE)
            for mechanism in REPORTED
            for observation, family in OBSERVATIONS.items()
        },
    },
    BINARISED: {
        "share of ones": partial(once, share_of_ones),
        # The others look at several cells at once, so that their sums have 2^(missing) terms.
        **{
            as_reported(name, "Bernoulli"): partial(fit_binary, name)
            for name in ("self-masking", "self-masking-known")
        },
    },
    ABLATION: {
        ablated(mechanism, switched): partial(fit_report, mechanism, "gaussian", faults)
        for mechanism in REPORTED
        for switched, faults in SWITCHED.items()
        if switched not in OF_THE_SAME_FIT
    }
    | {ONES: partial(once, ones)},
}
"""By the rows that are scored, or the reason why: held-out, binarised, ablation."""

FITS: dict[str, Method] = {name: fit for group in METHODS.values() for name, fit in group.items()}
SPLIT_OF = {name: split for split, group in METHODS.items() for name in group}
