"""Checks of the files that commands read and write, before anything takes its time."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from notmiwae.cli.mistakes import UsageError
from notmiwae.tables import check_extension


def check_output(args: argparse.Namespace, files: Sequence[Path]) -> None:
    """Find outputs that could not, or should not, be written."""
    check_extension(args.output)
    if not args.output.parent.is_dir():
        raise UsageError(
            f"the folder {args.output.parent} of --output does not exist: make it, or choose "
            "another"
        )
    for file in files:
        if file.is_dir():
            raise UsageError(f"--output {file} is a folder: name a file")
        if file.exists() and args.table.exists() and file.samefile(args.table):
            raise UsageError(
                f"--output {file} is the table that is read, and it would be lost: "
                "choose another name"
            )


def check_report(path: Path) -> None:
    """Find a report that could not be written."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--report must be a .html file; got {str(path)!r}")
    if not path.parent.is_dir() or path.is_dir():
        raise UsageError(f"--report {path} cannot be written: name a file in a folder that exists")


def check_any(names: Sequence[str], path: Path) -> None:
    """Find a table without a numeric column."""
    if not names:
        raise UsageError(
            f"{path} has no numeric column to work on, nor one of labels that repeat: there is "
            "nothing to learn from (numbers are written as -1.5 or 1e3; columns with leading zeros "
            "count as text)"
        )
