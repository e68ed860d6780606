"""A report on an imputation: what was missing, what is assumed of why, and what fills it."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

from notmiwae import __version__
from notmiwae.report.imputation import sections
from notmiwae.report.imputation.findings import Findings, gather
from notmiwae.report.imputation.wording import percent
from notmiwae.report.page import Page, render


def compose(found: Findings, title: str, command: str | None, max_rows: int) -> Page:
    """Return the page."""
    n_rows, n_columns = found.values.shape
    trusted = percent(found.diagnosis["trusted"].mean())
    return {
        "title": title,
        "kicker": "Imputation report",
        "lead": "What was missing where, what is assumed of why, what fills the holes, and how far "
        "it can be trusted.",
        "facts": [
            ("rows", f"{n_rows:,}"),
            ("columns in the model", f"{n_columns}"),
            ("cells missing", percent(found.missing.to_numpy().mean())),
            ("mechanism", found.imputer.selection_.chosen),
            ("rows with holes that pass the checks", trusted if found.n_holed_rows else "–"),
        ],
        "sections": [
            sections.overview(found),
            sections.where(found),
            sections.why(found),
            sections.fills(found),
            sections.trust(found),
            *sections.what_if(found, max_rows),
            sections.training(found),
            sections.assumptions(found),
            sections.settings(found, command),
        ],
        "footer": f"Made by notmiwae {__version__} on {datetime.date.today():%d %B %Y}.",
    }


def write(
    imputer: Any, X: Any, path: str | Path, *, title: str, command: str | None, max_rows: int
) -> Path:
    """Write the page; see `notmiwae.report.imputation_report`."""
    html = render(compose(gather(imputer, X, max_rows), title, command, max_rows))
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.part")
    try:
        unfinished.write_text(html, encoding="utf-8")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path
