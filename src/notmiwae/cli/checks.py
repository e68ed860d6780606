"""Checks of the files that commands read and write, before anything takes its time."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from notmiwae.cli.mistakes import UsageError
from notmiwae.tables import check_extension


def check_output(args: argparse.Namespace) -> None:
    """Find an output that could not, or should not, be written."""
    check_extension(args.output)
    if not args.output.parent.is_dir():
        raise UsageError(
            f"the folder {args.output.parent} of --output does not exist: make it, or choose "
            "another"
        )
    if args.output.is_dir():
        raise UsageError(f"--output {args.output} is a folder: name a file")
    if args.output.exists() and args.table.exists() and args.output.samefile(args.table):
        raise UsageError(
            f"--output {args.output} is the table that is read, and it would be lost: "
            "choose another name"
        )


def check_any(names: Sequence[str], path: Path) -> None:
    """Find a table without a numeric column."""
    if not names:
        raise UsageError(
            f"{path} has no numeric column: there is nothing to work on (numbers are written as "
            "-1.5 or 1e3; columns with leading zeros count as text)"
        )
