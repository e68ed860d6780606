"""From results to one self-contained HTML page: no network request, no script.

`render` turns a page, which is a dict of sections of text, tables and figures (see
`notmiwae.report.page`), into HTML; `notmiwae.report.figures` draws. Both need the extra ``report``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from notmiwae.report.page import Page

__all__ = ["render", "require"]


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


def render(page: Page) -> str:
    """Return a page as HTML; see `notmiwae.report.page.render`."""
    require()
    from notmiwae.report.page import render as render_page

    return render_page(page)
