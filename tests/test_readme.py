import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UPDATE = runpy.run_path(str(ROOT / "docs" / "update_readme.py"))


@pytest.mark.parametrize("document", UPDATE["SHOWN"], ids=lambda path: path.name)
def test_documents_show_what_the_results_say(document):
    assert UPDATE["updated"](document) == document.read_text("utf-8")
