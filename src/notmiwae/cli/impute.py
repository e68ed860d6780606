"""`notmiwae impute`: fill the holes of a table."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from notmiwae._glossary import (
    ESTIMATOR_MEANINGS,
    MECHANISM_MEANINGS,
    OBSERVATION_MEANINGS,
    TYPE_MEANINGS,
    glossary,
)
from notmiwae.cli import parsing, words
from notmiwae.cli.checkpoints import checkpoints
from notmiwae.cli.checks import check_output, check_report
from notmiwae.cli.filling import LABEL, counted, fill, outputs, shows_progress
from notmiwae.cli.mistakes import UsageError, missing_extras, mistakes
from notmiwae.cli.modelling import (
    Choice,
    add_training,
    check_training,
    chosen,
    configured,
    known,
    loaded,
    notes,
    try_one_step,
)
from notmiwae.cli.parsing import Parser
from notmiwae.cli.pipes import named, piped
from notmiwae.imputers import NotMIWAEImputer
from notmiwae.latent_imputer import (
    ESTIMATORS,
    MECHANISM_NAMES,
    ROWS_PER_SEED,
    LatentVariableImputer,
)
from notmiwae.observations import OBSERVATIONS
from notmiwae.report import imputation_report, require
from notmiwae.tables import Table, Traits, survey

TRAINING = ("types", "observation", "bounds", "seed", "resume")
BATCH_ROWS = 2**16


def configure(parser: Parser) -> None:
    """Add the arguments."""
    parser.set_defaults(run=run)
    parser.description = parsing.prose(
        "Learn how the columns of a table hang together and why values are missing, and fill the "
        "holes with what is to be expected there: numbers, and labels that repeat, such as yes and "
        "no. Cells that hold something stay exactly as they are. Dates, names and identifiers are "
        "carried through."
    )
    parser.epilog = "\n\n".join(
        [
            glossary("mechanisms (why values are missing)", MECHANISM_NAMES, MECHANISM_MEANINGS),
            glossary("types (what columns hold)", TYPE_MEANINGS, TYPE_MEANINGS),
            glossary("observations (what values are like)", OBSERVATIONS, OBSERVATION_MEANINGS),
            glossary("estimators (what fills a hole)", ESTIMATORS, ESTIMATOR_MEANINGS),
            parsing.examples(
                "notmiwae impute patients.csv -o filled.csv --mechanism self-masking-known",
                "notmiwae impute patients.csv -o filled.csv --columns age,weight --save model",
                "notmiwae impute patients.csv -o filled.csv --draws 20 --report report.html",
                "notmiwae impute new.csv -o new-filled.csv --load model",
                "notmiwae impute - -o - --load model < new.csv > new-filled.csv",
            ),
        ]
    )
    parsing.add_tables(parser, "table with holes: empty cells, NA, N/A, NaN, null, None, ? or .")
    _add_model(parser)
    add = parser.add_argument
    about = "write a page on what was missing, why, what fills it and what not to trust"
    add("--report", type=Path, metavar="HTML", help=about)
    add("--resume", action="store_true", help="go on with a training that was interrupted")
    _add_filling(parser)
    parsing.add_seed(parser, "file")
    add("--quiet", action="store_true", help="say nothing but errors")


def _add_filling(parser: Parser) -> None:
    """Add what happens after the training."""
    add = parser.add_argument
    about = "draw so many filled tables, for multiple imputation: OUT-1, OUT-2, ..."
    add("--draws", type=parsing.positive, metavar="M", help=about)
    about = f"write the draws as one table, with a column {LABEL!r} that numbers them"
    add("--long", action="store_true", help=about)
    default = NotMIWAEImputer().n_impute_samples
    about = f"weighted draws that a filled value rests on; fewer are faster (default: {default})"
    add("--samples", type=parsing.positive, metavar="K", help=about)
    about = "rows of a table for --load that are held in memory, in multiples of 4096 (default: "
    about += f"{BATCH_ROWS}); the result does not depend on it"
    add("--batch-rows", type=parsing.positive, metavar="N", default=BATCH_ROWS, help=about)


def _add_model(parser: Parser) -> None:
    """Add what makes an imputer; None stands for the imputer's own default."""
    defaults = NotMIWAEImputer()
    for name, choices, about in [
        ("observation", [*OBSERVATIONS], "what values are like"),
        ("estimator", ESTIMATORS, "what fills a hole"),
    ]:
        about += f", see below (default: {getattr(defaults, name)})"
        parser.add_argument(f"--{name}", choices=choices, metavar="NAME", help=about)
    about = f"a name, see below (default: {defaults.mechanism}), or a file of JSON that says it by "
    about += 'column: {"income": "self-masking-known:+", "*": "auto"}'
    add_training(parser, about, "numbers, and labels that repeat", type=parsing.name_or_settings)
    add = parser.add_argument
    about = "file of JSON that says what columns hold where that is not plain to see, see below"
    add("--types", type=parsing.settings, metavar="JSON", help=about)
    about = "of truncated-normal, for example 0,inf"
    add("--bounds", type=parsing.bounds, metavar="LOW,HIGH", help=about)


def run(args: argparse.Namespace) -> None:
    """Fill the holes of a table."""
    with piped(args):
        _check(args)
        (_fill_by_loaded if args.load else _train_and_fill)(args)


def _train_and_fill(args: argparse.Namespace) -> None:
    """Train on the table, which is held in memory, and fill it."""
    table = Table.read(args.table)
    columns = chosen(args, table)
    values = table.frame(columns.names, columns.labels)
    has_holes = bool(values.isna().to_numpy().any())
    if args.report and not has_holes:
        raise UsageError(f"{args.table} has no hole to report on: leave --report out")
    types = {name: kind for name, kind in (args.types or {}).items() if name in columns.names}
    with checkpoints(args) as folder:
        imputer = configured(args, types or None) if args.save or has_holes else None
        if imputer:
            try_one_step(imputer, values)
        numbers = values.select_dtypes("number")
        table.updated(numbers.fillna(0.0)).check_writable(args.output)
        _describe(args, table.traits, columns, "not among --columns")
        if imputer:
            _train(args, imputer, values, folder)
        fill(args, imputer, columns, [table], table.style)
    _conclude(args, table.traits, columns)
    if args.report and imputer:
        _report(args, imputer, values)


def _train(
    args: argparse.Namespace, imputer: NotMIWAEImputer, values: pd.DataFrame, folder: Path | None
) -> None:
    imputer.set_params(verbose=shows_progress(args), checkpoint=folder)
    with mistakes(), notes(args):
        imputer.fit(values)
    imputer.set_params(checkpoint=None)
    words.say(args, *words.learned(imputer))
    if args.save:
        imputer.save(args.save)
        words.say(args, f"{args.save}: the model, for --load")


def _fill_by_loaded(args: argparse.Namespace) -> None:
    """Fill by a model, batch by batch: once to look at all, and once more to fill."""
    imputer = loaded(args)
    n_rows = -(-args.batch_rows // ROWS_PER_SEED) * ROWS_PER_SEED
    first = next(Table.batches(args.table, n_rows))
    columns = known(imputer, first.columns)
    first.check_writable(args.output)
    traits = survey(Table.batches(args.table, n_rows), columns.names, columns.labels)
    _describe(args, traits, columns, "the model does not use it")
    batches = (table.within(traits) for table in Table.batches(args.table, n_rows))
    with notes(args):
        fill(args, imputer, columns, counted(args, batches, words.n_rows(traits)), first.style)
    words.say(args, *words.learned(imputer))
    _conclude(args, traits, columns)
    if args.report:
        values = first.frame(columns.names, columns.labels)
        _report(args, imputer, values, words.n_rows(traits))


def _report(
    args: argparse.Namespace,
    imputer: LatentVariableImputer,
    values: pd.DataFrame,
    n_rows: int | None = None,
) -> None:
    """Write the page, on the first batch of a longer table."""
    title = f"Imputation of {named(args, str(args.table))}"
    if n_rows and n_rows > len(values):
        title += f", its first {len(values):,} rows"
    imputation_report(imputer, values, args.report, title=title, command=args.command_line)
    words.say(args, f"{args.report}: the report")


def _describe(
    args: argparse.Namespace, traits: Mapping[str, Traits], columns: Choice, fate: str
) -> None:
    holes = words.holes(traits, columns.filled, columns.remarks, fate)
    words.say(args, words.describe(args.table, traits), *holes)


def _conclude(args: argparse.Namespace, traits: Mapping[str, Traits], columns: Choice) -> None:
    written = outputs(args)
    shown = f"{written[0]} to {written[-1]}" if len(written) > 1 else f"{written[0]}"
    times = f", {args.draws} times" if args.draws else ""
    words.say(args, f"{shown}: {words.result(traits, columns.filled)}{times}")


def _check(args: argparse.Namespace) -> None:
    """Find mistakes before the training, which takes its time."""
    check_output(args, outputs(args))
    if args.long and not args.draws:
        raise UsageError("--long writes several draws into one table: say how many by --draws")
    if args.to_pipe and args.draws and not args.long:
        raise UsageError("--draws writes several files: give --long to put them into one output")
    check_training(args, TRAINING)
    if (args.observation == "truncated-normal") != (args.bounds is not None):
        raise UsageError(
            "--observation truncated-normal and --bounds LOW,HIGH need each other: give both or "
            "neither"
        )
    if args.report:
        check_report(args.report)
        with missing_extras():
            require()
