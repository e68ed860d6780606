"""From what was given on the command line to an imputer and the columns that it works on."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import clone

from notmiwae.cli import parsing, words
from notmiwae.cli.checks import check_any
from notmiwae.cli.mistakes import UsageError, mistakes
from notmiwae.cli.parsing import Parser
from notmiwae.imputers import NotMIWAEImputer
from notmiwae.kinds import Labels, LeftOut, infer
from notmiwae.latent_imputer import LatentVariableImputer
from notmiwae.schema import check_columns
from notmiwae.tables import Column, Table

TRAINING = ("mechanism", "sign", "columns", "steps", "save")
"""Options of a training, which a model that is loaded has behind it."""


def add_training(parser: Parser, mechanism: str, columns: str, **options: Any) -> None:
    """Add what makes an imputer and where it is kept; None stands for the imputer's own default.

    Parameters
    ----------
    parser : Parser
    mechanism, columns : str
        What --mechanism is, and which columns are modelled by default.
    **options
        Of --mechanism.
    """
    add = parser.add_argument
    default = NotMIWAEImputer()
    add("--mechanism", metavar="NAME", help=f"why values are missing: {mechanism}", **options)
    add("--sign", type=parsing.sign, help="+1: high values go missing (default); -1: low ones do")
    about = f"model only these (default: all {columns})"
    add("--columns", type=parsing.names, metavar="A,B", help=about)
    about = f"steps of training (default: {default.max_steps})"
    add("--steps", type=parsing.positive, metavar="N", help=about)
    add("--save", type=Path, metavar="DIR", help="keep what was trained in this folder")
    about = "use what was kept by --save of this command; no training"
    add("--load", type=Path, metavar="DIR", help=about)


def check_training(args: argparse.Namespace, more: Sequence[str] = ()) -> None:
    """Find options that cannot apply together, before the training, which takes its time.

    Parameters
    ----------
    args : argparse.Namespace
    more : sequence of str
        Names of options of a training that only this command has.
    """
    given = [f"--{name}" for name in (*TRAINING, *more) if getattr(args, name) not in (None, False)]
    if args.load and given:
        raise UsageError(
            f"--load uses what was trained before, so that {', '.join(given)} cannot apply: "
            "leave out one or the other"
        )
    if args.sign is not None and args.mechanism != "self-masking-known":
        raise UsageError(
            "--sign says which values go missing under --mechanism self-masking-known; got "
            f"{args.mechanism or NotMIWAEImputer().mechanism}: leave --sign out, or choose that one"
        )
    if args.save and args.save.exists() and not args.save.is_dir():
        raise UsageError(f"--save needs a folder; {args.save} is a file: choose another name")


def configured(args: argparse.Namespace, types: Mapping[str, Any] | None = None) -> NotMIWAEImputer:
    """Return an imputer with what was given; the rest stays at its defaults."""
    given = {
        "mechanism": args.mechanism,
        "sign": args.sign,
        "observation": args.observation,
        "bounds": args.bounds,
        "estimator": args.estimator,
        "types": types,
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


class Choice(NamedTuple):
    """Columns of a table for a model.

    Attributes
    ----------
    names : list of str
        Those that the model sees.
    labels : set of str
        Those of them that may hold labels.
    filled : list of str
        Those of them that it fills.
    remarks : dict of str to str
        Why others are left out.
    """

    names: list[str]
    labels: set[str]
    filled: list[str]
    remarks: dict[str, str]


def chosen(args: argparse.Namespace, table: Table) -> Choice:
    """Return the columns to train on: all numbers, and labels that repeat, unless told."""
    said = args.types or {}
    with mistakes():
        check_columns("types", said, list(table.columns))
    if "*" in said:
        said = {**dict.fromkeys(args.columns or table.columns, said["*"]), **said}
        del said["*"]
    left_out = {name for name, kind in said.items() if kind == LeftOut.name}
    labels = {name for name in table.columns if _is_label(table, name, said)} - left_out
    if args.observation:  # of numbers
        labels = set()
    names = args.columns or [
        name for name in table.columns if name in labels or not table.columns[name].obstacle
    ]
    names = [name for name in names if name not in left_out]
    check_any(names, args.table)
    values = table.frame(names, labels)
    if empty := [name for name in names if values[name].isna().all()]:
        raise UsageError(f"nothing is observed in {words.listed(empty)}: leave it out of --columns")
    remarks = {
        name: reason
        for name in table.columns
        if name not in names and (reason := _reason(table.columns[name]))
    }
    if labels.intersection(names) or said:
        # Beside labels, numbers are taken for what they look like: those of rows are left out.
        for name in names:
            kind = infer(values[name])
            if isinstance(kind, LeftOut) and name not in said:
                remarks[name] = kind.reason
    names = [name for name in names if name not in remarks]
    check_any(names, args.table)
    return Choice(names, labels, names, remarks)


def _is_label(table: Table, name: str, said: Mapping[str, Any]) -> bool:
    column = table.columns[name]
    return column.holds_labels and (name in said or not _reason(column))


def _reason(column: Column) -> str:
    """Say why a column of labels is not used; empty if it is, or holds none."""
    kind = infer(column.labels) if column.holds_labels else None
    return kind.reason.partition(";")[0] if isinstance(kind, LeftOut) else ""


def known(imputer: LatentVariableImputer, present: Collection[str]) -> Choice:
    """Return the columns that a loaded model sees."""
    names = model_columns(imputer, present)
    if imputer.schema_ is None:
        return Choice(names, set(), names, {})
    kinds = dict(zip(names, imputer.schema_.columns, strict=True))
    labels = {name for name, kind in kinds.items() if isinstance(kind, (Labels, LeftOut))}
    filled = [name for name, kind in kinds.items() if not isinstance(kind, LeftOut)]
    return Choice(names, labels, filled, {})


def try_one_step(imputer: LatentVariableImputer, values: pd.DataFrame) -> None:
    """Train for one step, which finds the mistakes before anything is said or takes long."""
    with mistakes(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # said once the training is real
        clone(imputer).set_params(max_steps=1, checkpoint=None).fit(values)


@contextmanager
def notes(args: argparse.Namespace) -> Iterator[None]:
    """Say what the library warns of, in a line each."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    told = dict.fromkeys(str(warning.message) for warning in caught)
    words.say(args, *(f"note: {' '.join(text.split())}" for text in told))
