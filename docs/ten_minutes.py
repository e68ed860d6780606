"""Draw the pictures of ``tutorial-ten-minutes.md``: ``python docs/ten_minutes.py``.

Runs the page's own first blocks, which make the table and fit the imputer, and writes
``ten-minutes-patterns.svg`` and ``ten-minutes-income.svg`` beside it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from notmiwae.report.figures import to_svg
from notmiwae.report.imputation import drawings
from notmiwae.report.imputation.findings import gather
from notmiwae.report.imputation.wording import percent

HERE = Path(__file__).parent


def run_page(name: str, last: str) -> dict[str, Any]:
    """Run the Python of a page up to the block that has `last` in it; return its names."""
    names: dict[str, Any] = {}
    for code in re.findall(r"^```python\n(.*?)^```$", (HERE / name).read_text(), re.S | re.M):
        exec(code.replace('survey.to_csv("survey.csv", index=False)\n', ""), names)
        if last in code:
            break
    return names


def main() -> None:
    """Draw."""
    page = run_page("tutorial-ten-minutes.md", "imputer.fit_transform")
    found = gather(page["imputer"], page["people"], max_rows=1000)
    counts = (~found.missing[found.holed]).value_counts()
    present = np.array([list(key) for key in counts.index], dtype=bool)
    shares = [percent(count / len(found.missing)) for count in counts]
    figures = {
        "patterns": drawings.patterns(present, shares, found.holed),
        "income": drawings.distributions(found.observed("income"), found.filled("income")),
    }
    for name, figure in figures.items():
        figure.set_facecolor("white")
        (HERE / f"ten-minutes-{name}.svg").write_text(to_svg(figure), encoding="utf-8")
    print(page["imputer"].selection_)
    print(found.mechanism)
    complete, filled = page["complete"], page["filled"]
    for table in (complete, page["survey"], filled):
        print(table["income"].mean())


if __name__ == "__main__":
    main()
