"""From results to one self-contained HTML page: no network request, no script.

`render` turns a page, which is a dict of sections of text, tables and figures (see
`notmiwae.report.page`), into HTML; `notmiwae.report.figures` draws. Both need the extra ``report``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from notmiwae.report.page import Page

__all__ = ["imputation_report", "render", "require"]


def require() -> None:
    """Check that a page can be made, before the work that it is to show.

    Raises
    ------
    ImportError
        If jinja2 or matplotlib is missing; it says how to install them.
    """
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"a report needs {error.name}, which is not installed: pip install 'notmiwae[report]'"
        ) from error


def imputation_report(
    imputer: Any,
    X: Any,
    path: str | Path,
    *,
    title: str = "What was missing, and what fills it",
    command: str | None = None,
    max_rows: int = 1000,
) -> Path:
    """Write a page on what was missing in a table, why, what fills it, and what not to trust.

    Parameters
    ----------
    imputer : NotMIWAEImputer or MIWAEImputer
        Fitted.
    X : array or DataFrame of shape (N, D)
        The table with its holes.
    path : path
        The HTML file to write; it needs no other file.
    title : str
    command : str, optional
        The command line that made it, to be shown among the settings.
    max_rows : int
        Rows with holes that are looked at closely: drawn, diagnosed. A random sample if there are
        more.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ImportError
        If jinja2 or matplotlib is missing; it says how to install them.

    Examples
    --------
    >>> imputer = NotMIWAEImputer(random_state=0).fit(X)  # doctest: +SKIP
    >>> imputation_report(imputer, X, "report.html")  # doctest: +SKIP
    """
    require()
    from sklearn.utils.validation import check_is_fitted

    from notmiwae.report.imputation import write

    check_is_fitted(imputer)

    return write(imputer, X, path, title=title, command=command, max_rows=max_rows)


def render(page: Page) -> str:
    """Return a page as HTML; see `notmiwae.report.page.render`."""
    require()
    from notmiwae.report.page import render as render_page

    return render_page(page)
