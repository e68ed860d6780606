"""`notmiwae ampute`: delete values from a complete table."""

from __future__ import annotations

import argparse
from typing import Any

from notmiwae._glossary import KIND_MEANINGS, glossary
from notmiwae.amputation import AMPUTATIONS, Amputer
from notmiwae.cli import parsing, words
from notmiwae.cli.checks import check_any, check_output
from notmiwae.cli.mistakes import mistakes
from notmiwae.cli.parsing import Parser
from notmiwae.cli.pipes import piped
from notmiwae.tables import Table


def configure(parser: Parser) -> None:
    """Add the arguments."""
    parser.set_defaults(run=run)
    parser.description = parsing.prose(
        "Delete values from the numeric columns of a complete table by a known rule. Impute the "
        "result, and compare with what was there."
    )
    examples = parsing.examples(
        "notmiwae ampute complete.csv -o holes.csv --kind above-mean",
        "notmiwae ampute complete.csv -o holes.csv --kind clipping --columns weight --limit 90",
    )
    kinds = glossary("kinds (which values go missing)", AMPUTATIONS, KIND_MEANINGS)
    parser.epilog = f"{kinds}\n\n{examples}"
    parsing.add_tables(parser, "table without holes")
    add = parser.add_argument
    about = "which values go missing, see below (default: above-mean)"
    add("--kind", choices=list(AMPUTATIONS), metavar="NAME", default="above-mean", help=about)
    about = "delete from these, or from the first-half (default: from all numeric ones)"
    add("--columns", type=parsing.names, metavar="A,B", help=about)
    add("--share", type=parsing.number, metavar="X", help="how many, from 0 to 1")
    add(
        "--slope",
        type=parsing.numbers,
        metavar="X",
        help="how sharply; X,Y for one for each column",
    )
    add(
        "--threshold",
        type=parsing.numbers,
        metavar="X",
        help="from where on, in standard deviations",
    )
    add(
        "--limit",
        type=parsing.numbers,
        metavar="X",
        help="from where on, in the units of the table",
    )
    parsing.add_seed(parser, "file")
    add("--quiet", action="store_true", help="say nothing but errors")


def run(args: argparse.Namespace) -> None:
    """Delete values from a complete table."""
    with piped(args):
        _ampute(args)


def _ampute(args: argparse.Namespace) -> None:
    check_output(args, [args.output])
    table = Table.read(args.table)
    check_any(table.numeric, args.table)
    values = table.numbers(table.numeric)
    amputer = Amputer(
        args.kind,
        columns=_amputed_columns(args, table),
        share=args.share,
        slope=args.slope,
        threshold=args.threshold,
        limit=args.limit,
        random_state=args.seed or 0,
    )
    with mistakes():
        amputed = table.updated(amputer.fit_transform(values))
    amputed.write(args.output)  # before anything is said: an error is to be the only line
    before, after = table.traits, amputed.traits
    words.say(args, words.describe(args.table, before), *words.deleted(before, after))
    gone = words.counted(words.n_missing(after) - words.n_missing(before), "cell")
    words.say(args, f"{args.output}: {gone} deleted")


def _amputed_columns(args: argparse.Namespace, table: Table) -> Any:
    if args.columns is None or args.columns == ["first-half"]:
        return args.columns and "first-half"
    table.numbers(args.columns)  # says which of them is no numeric column of the table
    return args.columns
