"""What commands say of a table on stderr."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from notmiwae.tables import Table


def say(args: argparse.Namespace, *lines: str) -> None:
    """Print to stderr, unless --quiet."""
    if not args.quiet:
        print(*lines, sep="\n", file=sys.stderr)


def describe(path: Path, table: Table) -> str:
    """Say how large a table is."""
    return f"{path}: {counted(len(table), 'row')}, {counted(len(table.columns), 'column')}"


def holes(table: Table, names: Sequence[str], fate: str) -> list[str]:
    """Say what is missing where, and which columns are only carried through."""
    rows = []
    for name, column in table.columns.items():
        remark = "" if name in names else f"left as it is: {column.obstacle or fate}"
        rows.append((name, int(column.missing.sum()), remark))
    return aligned("missing", rows, len(table))


def deleted(table: Table, amputed: Table) -> list[str]:
    """Say what was deleted where, and which columns could not be touched."""
    rows = []
    for name, column in table.columns.items():
        remark = f"left as it is: {column.obstacle}" if column.obstacle else ""
        count = int(amputed.columns[name].missing.sum() - column.missing.sum())
        rows.append((name, count, remark))
    return aligned("deleted", rows, len(table))


def aligned(verb: str, rows: Sequence[tuple[str, int, str]], total: int) -> list[str]:
    """Lay out columns with a count or a remark; the others make one line at the end."""
    told = [row for row in rows if row[1] or row[2]]
    width = max(len(name) for name in ["column", *(row[0] for row in told)])
    lines = [f"  {'column':<{width}}  {verb:>8}   share"] if told else []
    lines += [
        f"  {name:<{width}}  {count:>8}  {count / total:>6.1%}  {remark}".rstrip()
        for name, count, remark in told
    ]
    if rest := len(rows) - len(told):
        lines.append(f"  nothing {verb} in {counted(rest, 'other column' if told else 'column')}")
    return lines


def n_missing(table: Table) -> int:
    """Count the holes."""
    return int(sum(column.missing.sum() for column in table.columns.values()))


def result(table: Table, filled: Table) -> str:
    """Say how many holes were filled, and where some are left."""
    remaining = [name for name, column in filled.columns.items() if column.missing.any()]
    said = f"{counted(n_missing(table) - n_missing(filled), 'cell')} filled"
    if remaining:
        said += f"; {counted(n_missing(filled), 'hole')} left in {listed(remaining)}"
    return said


def counted(number: int, noun: str) -> str:
    """Say a number of things."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def listed(names: Iterable[str]) -> str:
    """Quote names, with commas between."""
    return ", ".join(map(repr, names))
