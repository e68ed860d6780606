"""Run the tutorials: their blocks of Python, and their lines of shell that start with `notmiwae`.

Blocks run in their order and share their names, in an empty folder, with trainings cut short. One
that takes minutes or downloads something is preceded by a line ``<!-- not run: why -->``.
"""

import re
import shlex
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from notmiwae import cli
from notmiwae.latent_imputer import LatentVariableImputer

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(
    r"^(<!-- not run: .+ -->\n+)?```(python|sh)\n(.*?)^```$", re.DOTALL | re.MULTILINE
)
MOST = {"max_steps": 20, "n_models": 3, "n_impute_samples": 30, "n_samples": 2}


def blocks(page):
    """Yield number of the line, language and code of what is to be run."""
    text = page.read_text("utf-8")
    for block in BLOCK.finditer(text):
        skipped, language, code = block.groups()
        if not skipped:
            yield text.count("\n", 0, block.start(3)), language, code


def commands(code):
    """Return the commands of a block of shell that are ours, as lists of words."""
    lines = code.replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("notmiwae ")]


def exit_code(words):
    """Return what a command ends with; one for help leaves on its own."""
    try:
        return cli.main(words)
    except SystemExit as left:
        return left.code or 0


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    """Cut trainings short, in an empty folder, and leave no figure open."""
    fit = LatentVariableImputer.fit

    def short(self, X, y=None):
        self.set_params(**{name: min(getattr(self, name), most) for name, most in MOST.items()})
        return fit(self, X, y)

    monkeypatch.setattr(LatentVariableImputer, "fit", short)
    monkeypatch.chdir(tmp_path)
    yield
    plt.close("all")


@pytest.mark.filterwarnings("ignore:the imputations of .* should not be trusted")
@pytest.mark.parametrize("page", sorted(DOCS.glob("tutorial-*.md")), ids=lambda page: page.stem)
def test_tutorials_run(page):
    names = {}
    for line, language, code in blocks(page):
        if language == "python":
            # Empty lines in front, so that an error names the line of the page.
            exec(compile("\n" * line + code, page, "exec"), names)
        for words in commands(code) if language == "sh" else ():
            assert exit_code(words) == 0, f"{page.name}: notmiwae {shlex.join(words)}"


def test_a_page_is_read_as_its_blocks(tmp_path):
    page = tmp_path / "tutorial-x.md"
    page.write_text(
        "# X\n\n```python\na = 1\n```\n\n<!-- not run: takes minutes -->\n```sh\nnotmiwae a\n```\n"
        "```text\nshown\n```\n```sh\npip install x\nnotmiwae b \\\n  'c d'\n```\n"
    )
    (first, python, code), (_, shell, lines) = blocks(page)
    assert (first, python, code, shell) == (3, "python", "a = 1\n", "sh")
    assert commands(lines) == [["b", "c d"]]
