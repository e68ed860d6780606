import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_readme_shows_what_the_results_say():
    updated = runpy.run_path(str(ROOT / "docs" / "update_readme.py"))["updated"]
    text = (ROOT / "README.md").read_text("utf-8")
    assert updated(text) == text
