"""``-`` for a file: standard input and output, by way of temporary files.

So a table can be read more than once, and standard output gets nothing, or everything.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from notmiwae.cli.mistakes import UsageError
from notmiwae.tables import TableError

PIPE = Path("-")
PARQUET = b"PAR1"


@contextmanager
def piped(args: argparse.Namespace) -> Iterator[None]:
    """Let ``-`` stand for standard input as the table, and for standard output as the output.

    What is written has the format of what is read: CSV, or Parquet, which its first bytes tell.
    """
    args.to_pipe = args.output == PIPE
    with TemporaryDirectory(prefix="notmiwae-") as folder:
        if args.table == PIPE:
            args.table = _received(Path(folder))
            args.aliases[str(args.table)] = "standard input"
        if args.to_pipe:
            args.output = Path(folder, "output").with_suffix(args.table.suffix)
            args.aliases[str(args.output)] = "standard output"
        try:
            yield
        except (UsageError, TableError) as error:
            raise UsageError(named(args, _located(args, error))) from error
        if args.to_pipe:
            with args.output.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.flush()


def _located(args: argparse.Namespace, error: Exception) -> str:
    """Name the table in what the library says of its contents, not of its file."""
    about_table = isinstance(error, TableError) or isinstance(error.__cause__, ValueError)
    if about_table and str(args.table) not in str(error):
        return f"{args.table}: {error}"
    return str(error)


def named(args: argparse.Namespace, text: str) -> str:
    """Call temporary files what they stand for."""
    for path, name in args.aliases.items():
        text = text.replace(path, name)
    return text


def _received(folder: Path) -> Path:
    source = sys.stdin.buffer
    start = source.read(len(PARQUET))
    path = folder / ("input.parquet" if start == PARQUET else "input.csv")
    with path.open("wb") as file:
        file.write(start)
        shutil.copyfileobj(source, file)
    return path
