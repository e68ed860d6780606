"""Fill batches of a table, once or several times, into one file or several."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import tee
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from notmiwae.cli.mistakes import mistakes
from notmiwae.cli.modelling import Choice
from notmiwae.latent_imputer import LatentVariableImputer
from notmiwae.tables import Style, Table, writing

LABEL = "imputation"


def outputs(args: argparse.Namespace) -> list[Path]:
    """Return the names of the files to write: one, or one for each draw."""
    if args.draws is None or args.long:
        return [args.output]
    width = len(str(args.draws))
    stem, suffix = args.output.stem, args.output.suffix
    return [
        args.output.with_name(f"{stem}-{number:0{width}}{suffix}")
        for number in range(1, args.draws + 1)
    ]


def shows_progress(args: argparse.Namespace) -> bool:
    """Whether somebody is there to see a progress bar."""
    return not args.quiet and sys.stderr.isatty()


def fill(
    args: argparse.Namespace,
    imputer: LatentVariableImputer | None,
    columns: Choice,
    batches: Iterable[Table],
    style: Style,
) -> None:
    """Fill columns and write the result; without an imputer there is nothing to fill.

    Parameters
    ----------
    args : Namespace
    imputer : LatentVariableImputer, optional
    columns : Choice
        Those that the imputer works on.
    batches : iterable of Table
        Parts of one table.
    style : Style
        Of the table.
    """
    with _writing(args, style) as write, mistakes():
        for table, versions in _filled(args, imputer, columns, batches):
            write([table.updated(values) for values in versions])


def _filled(
    args: argparse.Namespace,
    imputer: LatentVariableImputer | None,
    columns: Choice,
    batches: Iterable[Table],
) -> Iterator[tuple[Table, list[pd.DataFrame]]]:
    """Yield each batch with the values that are to be in it, one table of them for each draw."""
    if imputer is None:
        for table in batches:
            yield table, [pd.DataFrame(index=range(len(table)))] * (args.draws or 1)
        return
    given = imputer.get_feature_names_out().tolist()
    # A model from Python may add indicators and drop columns.
    kept = [name for name in columns.filled if name in given]
    ahead, behind = tee(batches)
    frames = (table.frame(columns.names, columns.labels) for table in ahead)
    for table, result in zip(behind, imputer.transform_batches(frames, args.draws), strict=True):
        versions = [result] if args.draws is None else result
        yield table, [pd.DataFrame(version, columns=given)[kept] for version in versions]


@contextmanager
def _writing(args: argparse.Namespace, style: Style) -> Iterator[Callable[[Sequence[Table]], None]]:
    """Give what writes the versions of a batch; all files are complete, or not there."""
    with ExitStack() as files:
        add = [files.enter_context(writing(path, style)) for path in outputs(args)]

        def write(versions: Sequence[Table]) -> None:
            if args.long:
                versions = [versions[0].interleaved(versions[1:], LABEL)]
            for add_to, version in zip(add, versions, strict=True):
                add_to(version)

        yield write


def counted(args: argparse.Namespace, batches: Iterable[Table], n_rows: int) -> Iterator[Table]:
    """Show how many rows are done, where there are several batches."""
    with tqdm(total=n_rows, desc="imputing", unit="row", disable=not shows_progress(args)) as bar:
        for table in batches:
            yield table
            bar.update(len(table))
