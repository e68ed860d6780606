"""`notmiwae impute`: fill the holes of a table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import clone

from notmiwae._glossary import (
    ESTIMATOR_MEANINGS,
    MECHANISM_MEANINGS,
    OBSERVATION_MEANINGS,
    glossary,
)
from notmiwae.cli import parsing, words
from notmiwae.cli.checks import check_any, check_output
from notmiwae.cli.mistakes import UsageError, mistakes
from notmiwae.cli.parsing import Parser
from notmiwae.imputers import ESTIMATORS, MECHANISM_NAMES, LatentVariableImputer, NotMIWAEImputer
from notmiwae.observations import OBSERVATIONS
from notmiwae.tables import Table

TRAINING = ("mechanism", "sign", "observation", "bounds", "columns", "steps", "seed", "save")


def configure(parser: Parser) -> None:
    """Add the arguments."""
    parser.set_defaults(run=run)
    parser.description = parsing.prose(
        "Learn how the numeric columns of a table hang together and why values are missing, and "
        "fill the holes with what is to be expected there. Cells that hold something stay exactly "
        "as they are. Columns of text, dates and codes are carried through."
    )
    parser.epilog = "\n\n".join(
        [
            glossary("mechanisms (why values are missing)", MECHANISM_NAMES, MECHANISM_MEANINGS),
            glossary("observations (what values are like)", OBSERVATIONS, OBSERVATION_MEANINGS),
            glossary("estimators (what fills a hole)", ESTIMATORS, ESTIMATOR_MEANINGS),
            parsing.examples(
                "notmiwae impute patients.csv -o filled.csv --mechanism self-masking-known",
                "notmiwae impute patients.csv -o filled.csv --columns age,weight --save model",
                "notmiwae impute new.csv -o new-filled.csv --load model",
            ),
        ]
    )
    parsing.add_tables(parser, "table with holes: empty cells, NA, N/A, NaN, null, None, ? or .")
    _add_model(parser)
    add = parser.add_argument
    add(
        "--columns",
        type=parsing.names,
        metavar="A,B",
        help="model only these (default: all numeric ones)",
    )
    add("--save", type=Path, metavar="DIR", help="keep the trained model in this folder")
    add("--load", type=Path, metavar="DIR", help="fill by a model that was kept; no training")
    parsing.add_seed(parser, "file")
    add("--quiet", action="store_true", help="say nothing but errors")


def _add_model(parser: Parser) -> None:
    """Add what makes an imputer; None stands for the imputer's own default."""
    defaults = NotMIWAEImputer()
    for name, known, about in [
        ("mechanism", MECHANISM_NAMES, "why values are missing"),
        ("observation", [*OBSERVATIONS], "what values are like"),
        ("estimator", ESTIMATORS, "what fills a hole"),
    ]:
        about += f", see below (default: {getattr(defaults, name)})"
        parser.add_argument(f"--{name}", choices=known, metavar="NAME", help=about)
    add = parser.add_argument
    add("--sign", type=parsing.sign, help="+1: high values go missing (default); -1: low ones do")
    add(
        "--bounds",
        type=parsing.bounds,
        metavar="LOW,HIGH",
        help="of truncated-normal, for example 0,inf",
    )
    steps = f"steps of training (default: {defaults.max_steps})"
    add("--steps", type=parsing.positive, metavar="N", help=steps)


def run(args: argparse.Namespace) -> None:
    """Fill the holes of a table."""
    _check_impute(args)
    table = Table.read(args.table)
    imputer = _loaded(args) if args.load else _configured(args)
    names = _model_columns(imputer, table) if args.load else _trainable(args, table)
    values = table.numbers(names)
    trains = not args.load and bool(args.save or values.isna().to_numpy().any())
    _rehearse(imputer, values, trains)
    table.updated(values.fillna(0.0)).check_writable(args.output)
    fate = "the model does not use it" if args.load else "not among --columns"
    words.say(args, words.describe(args.table, table), *words.holes(table, names, fate))
    imputer.set_params(verbose=not args.quiet and sys.stderr.isatty())
    with mistakes():
        filled = table.updated(_filled(imputer, values, trains))
    if trains or args.load:
        words.say(args, f"mechanism: {imputer.selection_}")
    if args.save:
        imputer.save(args.save)
        words.say(args, f"{args.save}: the model, for --load")
    filled.write(args.output)
    words.say(args, f"{args.output}: {words.result(table, filled)}")


def _check_impute(args: argparse.Namespace) -> None:
    """Find mistakes before the training, which takes its time."""
    check_output(args)
    given = [f"--{name}" for name in TRAINING if getattr(args, name) is not None]
    if args.load and given:
        raise UsageError(
            f"--load uses a model as it was trained, so that {', '.join(given)} cannot apply: "
            "leave out one or the other"
        )
    if args.sign is not None and args.mechanism != "self-masking-known":
        raise UsageError(
            "--sign says which values go missing under --mechanism self-masking-known; got "
            f"{args.mechanism or NotMIWAEImputer().mechanism}: leave --sign out, or choose that one"
        )
    if (args.observation == "truncated-normal") != (args.bounds is not None):
        raise UsageError(
            "--observation truncated-normal and --bounds LOW,HIGH need each other: give both or "
            "neither"
        )
    if args.save and args.save.exists() and not args.save.is_dir():
        raise UsageError(f"--save needs a folder; {args.save} is a file: choose another name")


def _configured(args: argparse.Namespace) -> NotMIWAEImputer:
    """An imputer with what was given; the rest stays at its defaults."""
    given = {
        "mechanism": args.mechanism,
        "sign": args.sign,
        "observation": args.observation,
        "bounds": args.bounds,
        "estimator": args.estimator,
        "max_steps": args.steps,
    }
    options = {name: value for name, value in given.items() if value is not None}
    return NotMIWAEImputer(**options, random_state=args.seed or 0)


def _loaded(args: argparse.Namespace) -> LatentVariableImputer:
    imputer = LatentVariableImputer.load(args.load)
    if not hasattr(imputer, "feature_names_in_"):
        raise UsageError(
            f"{args.load} was trained on a table without column names, so that it fits no file: "
            "train it on one, or use it in Python"
        )
    if args.estimator:
        imputer.set_params(estimator=args.estimator)
    return imputer.set_params(missing_values=np.nan)


def _model_columns(imputer: LatentVariableImputer, table: Table) -> list[str]:
    """Return the columns that the model knows, which must be there."""
    names: list[str] = imputer.feature_names_in_.tolist()
    if absent := [name for name in names if name not in table.columns]:
        raise UsageError(
            f"the model needs column(s) {words.listed(absent)}, which the table has not: it has "
            f"{words.listed(table.columns)}; add them (empty will do), or train another model"
        )
    return names


def _trainable(args: argparse.Namespace, table: Table) -> list[str]:
    """Return the columns to train on."""
    names: list[str] = args.columns or table.numeric
    check_any(names, args.table)
    if empty := [name for name in names if table.numbers([name]).isna().to_numpy().all()]:
        raise UsageError(f"nothing is observed in {words.listed(empty)}: leave it out of --columns")
    return names


def _rehearse(imputer: LatentVariableImputer, values: pd.DataFrame, train: bool) -> None:
    """Train for one step, which finds the mistakes before anything is said or takes long."""
    if train:
        with mistakes():
            clone(imputer).set_params(max_steps=1).fit(values)


def _filled(imputer: LatentVariableImputer, values: pd.DataFrame, train: bool) -> pd.DataFrame:
    """Fill, after training if need be."""
    if train:
        imputer.fit(values)
    if not values.isna().to_numpy().any():
        return values
    filled = imputer.set_output(transform="pandas").transform(values)
    # A model from Python may add indicators and drop columns.
    return filled[[name for name in values if name in filled]]
