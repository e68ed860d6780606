"""Draw the pictures of ``tutorial-ten-minutes.md``: ``python docs/ten_minutes.py``.

Runs the page's own first block, which makes the table, fits one model of one mechanism, which is
quicker than what the page does, and writes ``ten-minutes-patterns.svg`` and
``ten-minutes-income.svg`` beside it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from notmiwae import NotMIWAEImputer
from notmiwae.report.figures import to_svg
from notmiwae.report.imputation import drawings
from notmiwae.report.imputation.findings import gather
from notmiwae.report.imputation.wording import percent

HERE = Path(__file__).parent


def first_block(page: Path) -> dict[str, Any]:
    """Run the first block of Python of a page, but for its line that writes; return its names."""
    names: dict[str, Any] = {}
    block = re.search(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert block is not None
    exec(re.sub(r"^survey\.to_csv.*$", "", block[1], flags=re.MULTILINE), names)
    return names


def main() -> None:
    """Draw."""
    people = first_block(HERE / "tutorial-ten-minutes.md")["survey"].drop(columns="person")
    imputer = NotMIWAEImputer("self-masking", max_steps=400, n_models=1, random_state=0)
    found = gather(imputer.fit(people), people, max_rows=1000)
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


if __name__ == "__main__":
    main()
