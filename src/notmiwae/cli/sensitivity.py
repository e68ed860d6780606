"""`notmiwae sensitivity`: how an estimate depends on what cannot be known of missing values."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from notmiwae._glossary import MECHANISM_MEANINGS, glossary
from notmiwae.cli import parsing, words
from notmiwae.cli.filling import shows_progress
from notmiwae.cli.mistakes import UsageError, missing_extras, mistakes
from notmiwae.cli.modelling import (
    add_training,
    check_training,
    configured,
    loaded,
    model_columns,
    trainable,
    try_one_step,
)
from notmiwae.cli.parsing import Parser
from notmiwae.departures import DEPARTURES
from notmiwae.imputers import NotMIWAEImputer
from notmiwae.latent_imputer import MECHANISM_NAMES, LatentVariableImputer
from notmiwae.sensitivity import N_DRAWS, UNITS, Sweep, read_question, sensitivity_analysis
from notmiwae.tables import Table

ESTIMAND_MEANINGS = {
    "mean": "the mean of the column",
    "median": "its median",
    "quantile:0.9": "its quantile at this level",
    "share-above:50": "the share of its values above this limit",
    "coefficient:Y~X,Z": "that of X in a linear regression of Y on X and Z, one of which it is",
}
DEPARTURE_MEANINGS = {
    "delta": "missing values are higher by so many standard deviations than the model has it",
    "slope": "per standard deviation, the odds of being missing are e^size times as high",
}


def configure(parser: Parser) -> None:
    """Add the arguments."""
    unused = dict.fromkeys(["observation", "bounds", "estimator", "samples"])
    parser.set_defaults(run=run, aliases={}, **unused)
    parser.description = parsing.prose(
        "Why values are missing cannot be known from the table. Estimate something by multiple "
        "imputation, suppose that the missing values of a column differ from what the model takes "
        "them to be by more and more, and see when the conclusion changes."
    )
    parser.epilog = "\n\n".join(
        [
            glossary("estimands (what is asked)", ESTIMAND_MEANINGS, ESTIMAND_MEANINGS),
            glossary("departures (what is supposed)", DEPARTURES, DEPARTURE_MEANINGS),
            glossary("mechanisms (why values are missing)", MECHANISM_NAMES, MECHANISM_MEANINGS),
            parsing.examples(
                "notmiwae sensitivity survey.csv --column income --estimand mean",
                "notmiwae sensitivity survey.csv --column income --reference 42 --report s.html",
                "notmiwae sensitivity survey.csv --column income "
                "--estimand coefficient:income~education,age",
            ),
        ]
    )
    _add_question(parser)
    about = f"see below (default: {NotMIWAEImputer().mechanism})"
    add_training(parser, about, "numeric ones", choices=MECHANISM_NAMES)
    add = parser.add_argument
    about = "models, each fitted to its own bootstrap sample (default: as many as draws)"
    add("--models", type=parsing.positive, metavar="N", help=about)
    add("--output", "-o", type=Path, metavar="CSV", help="write the numbers to this file")
    add("--report", type=Path, metavar="HTML", help="write a page with the curve to this file")
    parsing.add_seed(parser, "numbers")
    add("--quiet", action="store_true", help="say nothing but the result and errors")


def _add_question(parser: Parser) -> None:
    add = parser.add_argument
    about = "table with holes (.csv, .tsv, .parquet)"
    add("table", type=Path, metavar="TABLE", help=about)
    about = "whose missing values may differ from what the model takes them to be"
    add("--column", required=True, metavar="NAME", help=about)
    add("--estimand", metavar="WHAT", default="mean", help="see below (default: mean)")
    about = "the value that the conclusion is about (default: 0 for a coefficient, else none)"
    add("--reference", type=parsing.number, metavar="X", help=about)
    add("--by", choices=[*DEPARTURES], default="delta", help="see below (default: delta)")
    about = "A,B,C: how far (default: from -1 to 1); with a minus in front, as in --sizes=-1,1"
    add("--sizes", type=parsing.numbers, metavar="X,Y", help=about)
    about = "what the sizes of a delta are in: sd, or the units of the column (default: sd)"
    add("--unit", choices=UNITS, default="sd", help=about)
    about = f"completed tables (default: {N_DRAWS})"
    add("--draws", type=parsing.positive, metavar="M", default=N_DRAWS, help=about)


def run(args: argparse.Namespace) -> None:
    """Sweep."""
    _check(args)
    table = Table.read(args.table)
    imputer = loaded(args) if args.load else _bootstrap(args)
    names = model_columns(imputer, table.columns) if args.load else trainable(args, table)
    values = table.numbers(names)
    question = _question(args)
    with mistakes():
        read_question(values, **question)
    _fit(args, imputer, values)
    with mistakes(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        imputer.set_params(verbose=False)
        sweep = sensitivity_analysis(imputer, values, reference=args.reference, **question)
    words.say(args, *(f"note: {warning.message}" for warning in caught))
    _write(args, sweep, imputer)


def _check(args: argparse.Namespace) -> None:
    """Find mistakes before the training, which takes its time."""
    check_training(args, ["models"])
    for name, suffix in (("output", ".csv"), ("report", ".html")):
        path = getattr(args, name)
        if path is None:
            continue
        if path.suffix.lower() != suffix or path.is_dir():
            raise UsageError(f"--{name} must be a {suffix} file; got {str(path)!r}")
        if not path.parent.is_dir():
            raise UsageError(
                f"the folder {path.parent} of --{name} does not exist: make it, or choose another"
            )
        if path.exists() and args.table.exists() and path.samefile(args.table):
            raise UsageError(
                f"--{name} {path} is the table that is read, and it would be lost: choose another "
                "name"
            )
    if args.report:
        from notmiwae import report

        with missing_extras():
            report.require()


def _bootstrap(args: argparse.Namespace) -> NotMIWAEImputer:
    imputer: NotMIWAEImputer = configured(args).set_params(
        bootstrap=True, n_models=args.models or args.draws
    )
    return imputer


def _fit(args: argparse.Namespace, imputer: LatentVariableImputer, values: pd.DataFrame) -> None:
    if not args.load:
        try_one_step(imputer.set_params(verbose=False), values)
        words.say(args, f"{args.table}: {words.counted(len(values), 'row')}")
        imputer.set_params(verbose=shows_progress(args))
        with mistakes():
            imputer.fit(values)
        if args.save:
            imputer.save(args.save)
            words.say(args, f"{args.save}: the models, for --load")
    words.say(args, *words.learned(imputer))


def _question(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "column": args.column,
        "estimand": args.estimand,
        "by": args.by,
        "sizes": [args.sizes] if isinstance(args.sizes, float) else args.sizes,
        "unit": args.unit,
        "n_draws": args.draws,
    }


def _write(args: argparse.Namespace, sweep: Sweep, imputer: LatentVariableImputer) -> None:
    if args.output:
        _replace(args.output, sweep.table.to_csv())
    if args.report:
        from notmiwae.report import sensitivity

        _replace(args.report, sensitivity.page_of(sweep, imputer))
    print(sweep)
    print(f"\n{sweep.shown().to_string()}")
    words.say(args, *(str(path) for path in (args.output, args.report) if path))


def _replace(path: Path, text: str) -> None:
    """Write a file under another name, then rename it: it is there as a whole, or as it was."""
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_text(text, "utf-8")
    unfinished.replace(path)
