"""A page as a dict, and its HTML.

A `Page` has a title, a lead, a few facts and sections; a section has blocks, which `text`, `terms`,
`table`, `figure` and `code` make. All of it is plain text, escaped where it is put into the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any, TypedDict

import jinja2

Block = dict[str, Any]


class Image(TypedDict):
    """A picture: a data URI, what it shows in words, and its size in CSS pixels."""

    src: str
    alt: str
    width: int
    height: int


class Panel(TypedDict):
    """One picture of a figure, under its own title, which may be empty."""

    title: str
    image: Image


class Key(TypedDict):
    """An entry of a figure's legend; `mark` is line, dash, area, dot, ring, diamond or tick."""

    label: str
    colour: str
    mark: str


class Section(TypedDict):
    """A heading and what stands under it."""

    title: str
    blocks: list[Block]


class Page(TypedDict):
    """All that a page says.

    `facts` are pairs of a name and a short value; `footer` says how the page was made.
    """

    title: str
    kicker: str
    lead: str
    facts: list[tuple[str, str]]
    sections: list[Section]
    footer: str


def text(*paragraphs: str) -> Block:
    """Return a block of paragraphs."""
    return {"kind": "text", "paragraphs": paragraphs}


def terms(items: Mapping[str, str]) -> Block:
    """Return a block of words and what they mean."""
    return {"kind": "terms", "items": items}


def code(line: str) -> Block:
    """Return a block with something to type."""
    return {"kind": "code", "text": line}


def table(
    caption: str,
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    notes: Sequence[str] = (),
    best: int | None = None,
    best_label: str = "lowest",
    words: Sequence[int] = (),
) -> Block:
    """Return a table whose first column names the rows.

    Parameters
    ----------
    caption : str
    header : sequence of str
    rows : iterable of sequence of str
        In a cell ``mean ± deviation``, means stand under means.
    notes : sequence of str
        What the marks in it mean.
    best : int, optional
        The row to mark as the best.
    best_label : str
        What it is called.
    words : sequence of int
        Columns that hold words rather than numbers: these may break into lines.
    """
    body = list(rows)
    return {
        "kind": "table",
        "caption": caption,
        "header": header,
        "rows": body,
        "spreads": [any("±" in cell for cell in column) for column in zip(*body, strict=True)],
        "notes": notes,
        "best": best,
        "best_label": best_label,
        "words": words,
    }


def figure(
    caption: str,
    panels: Sequence[Panel],
    *,
    columns: int = 1,
    least: float = 8.75,
    legend: Sequence[Key] = (),
    across: str = "",
    up: str = "",
) -> Block:
    """Return a figure of one or more panels.

    Parameters
    ----------
    caption : str
        What it shows and how to read it.
    panels : sequence of Panel
    columns : int
        Panels side by side where there is room for them; fewer on a phone.
    least : float
        How wide a panel is at least, in letters (rem).
    legend : sequence of Key
    across, up : str
        What the axes of all panels are.
    """
    return {
        "kind": "figure",
        "caption": caption,
        "panels": panels,
        "columns": columns,
        "least": least,
        "legend": legend,
        "across": across,
        "up": up,
    }


def render(page: Page) -> str:
    """Return a page as one HTML document that asks for no other file.

    Parameters
    ----------
    page : Page

    Returns
    -------
    str
    """
    template = files("notmiwae.report").joinpath("page.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(page=page).lstrip() + "\n"
