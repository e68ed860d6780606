"""From what was given on the command line to an imputer and the columns that it works on."""

from __future__ import annotations

import argparse
from collections.abc import Collection

import numpy as np
import pandas as pd
from sklearn.base import clone

from notmiwae.cli import words
from notmiwae.cli.checks import check_any
from notmiwae.cli.mistakes import UsageError, mistakes
from notmiwae.imputers import LatentVariableImputer, NotMIWAEImputer
from notmiwae.tables import Table


def configured(args: argparse.Namespace) -> NotMIWAEImputer:
    """Return an imputer with what was given; the rest stays at its defaults."""
    given = {
        "mechanism": args.mechanism,
        "sign": args.sign,
        "observation": args.observation,
        "bounds": args.bounds,
        "estimator": args.estimator,
        "max_steps": args.steps,
        "n_impute_samples": args.samples,
    }
    options = {name: value for name, value in given.items() if value is not None}
    return NotMIWAEImputer(**options, random_state=args.seed or 0)


def loaded(args: argparse.Namespace) -> LatentVariableImputer:
    """Return an imputer that was saved."""
    imputer = LatentVariableImputer.load(args.load)
    if not hasattr(imputer, "feature_names_in_"):
        raise UsageError(
            f"{args.load} was trained on a table without column names, so that it fits no file: "
            "train it on one, or use it in Python"
        )
    given = {"estimator": args.estimator, "n_impute_samples": args.samples}
    options = {name: value for name, value in given.items() if value is not None}
    return imputer.set_params(missing_values=np.nan, checkpoint=None, **options)


def model_columns(imputer: LatentVariableImputer, present: Collection[str]) -> list[str]:
    """Return the columns that the model knows, which must be there."""
    names: list[str] = imputer.feature_names_in_.tolist()
    if absent := [name for name in names if name not in present]:
        raise UsageError(
            f"the model needs column(s) {words.listed(absent)}, which the table has not: it has "
            f"{words.listed(present)}; add them (empty will do), or train another model"
        )
    return names


def trainable(args: argparse.Namespace, table: Table) -> list[str]:
    """Return the columns to train on."""
    names: list[str] = args.columns or table.numeric
    check_any(names, args.table)
    if empty := [name for name in names if table.numbers([name]).isna().to_numpy().all()]:
        raise UsageError(f"nothing is observed in {words.listed(empty)}: leave it out of --columns")
    return names


def rehearse(imputer: LatentVariableImputer, values: pd.DataFrame) -> None:
    """Train for one step, which finds the mistakes before anything is said or takes long."""
    with mistakes():
        clone(imputer).set_params(max_steps=1, checkpoint=None).fit(values)
