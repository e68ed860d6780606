"""Raw cells of a CSV file: with the quotes that they stand in."""

from __future__ import annotations

import re


def enclosed(text: str) -> str:
    """Return a raw cell in quotes that says `text`."""
    return '"' + text.replace('"', '""') + '"'


def bare(cell: str) -> str:
    """Return what a raw cell says."""
    return cell[1:-1].replace('""', '"') if cell.startswith('"') else cell


def quoted(text: str) -> str:
    """Return a raw cell that says `text`."""
    return enclosed(text) if re.search('["\r\n]', text) else text


def delimited(cell: str, delimiter: str) -> str:
    """Return a raw cell that may stand beside this delimiter, which it may not come from."""
    return enclosed(cell) if delimiter in cell and not cell.startswith('"') else cell
