import re

import numpy as np
import pandas as pd
import pytest

from notmiwae import cli

QUICK = ["--steps", "5", "--models", "2", "--draws", "4", "--mechanism", "self-masking"]
ASKED = ["sensitivity", "survey.csv", "--column", "income"]


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    """A folder with a survey in which high incomes are withheld."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    age = rng.normal(45, 12, 60)
    income = 40 + 0.5 * (age - 45) + rng.normal(0, 5, 60)
    income[income > 44] = np.nan
    pd.DataFrame({"name": "x", "age": age, "income": income}).to_csv("survey.csv", index=False)


def test_the_result_is_on_stdout_and_in_the_files(capsys, tmp_path):
    files = ["--output", "sweep.csv", "--report", "sweep.html", "--reference", "41"]
    assert cli.main([*ASKED, *QUICK, *files]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("The mean of income is ")
    assert "\nUp " in said.out
    table = pd.read_csv("sweep.csv", index_col="delta")
    assert f"{table.loc[0.0, 'estimate']:.4g}" in said.out
    assert table["estimate"].is_monotonic_increasing
    assert "mechanism: self-masking (as given)" in said.err
    page = (tmp_path / "sweep.html").read_text("utf-8")
    assert "What if the missing values of income are not what they seem?" in page
    assert not re.search(r"(?:src|href)=.(?!data:|#)", page)
    assert not list(tmp_path.glob(".*"))


def test_models_that_were_kept_give_the_same(capsys):
    assert cli.main([*ASKED, *QUICK, "--save", "models", "--quiet"]) == 0
    first = capsys.readouterr()
    assert first.err == ""
    assert cli.main([*ASKED, "--load", "models", "--draws", "4", "--quiet"]) == 0
    assert capsys.readouterr().out == first.out


def test_sizes_are_in_the_units_of_the_column_if_so_asked(capsys):
    given = ["--sizes=-2,2", "--unit", "column", "--output", "sweep.csv"]
    assert cli.main([*ASKED, *QUICK, *given]) == 0
    np.testing.assert_allclose(pd.read_csv("sweep.csv")["shift"], [-2, 0, 2])


def test_what_should_be_known_of_the_numbers_is_noted(capsys):
    assert cli.main([*ASKED, *QUICK, "--by", "slope", "--sizes", "90"]) == 0
    assert "note: slope 90 is so steep" in capsys.readouterr().err


def test_help_names_estimands_and_departures(capsys):
    with pytest.raises(SystemExit):
        cli.main(["sensitivity", "--help"])
    text = capsys.readouterr().out
    assert "share-above:50" in text
    assert "\n  slope " in text


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (["--column", "wage"], "column must be one of ['age', 'income']; got 'wage'"),
        (["--column", "age"], "has no missing value"),
        (["--estimand", "mode"], "estimand must be one of"),
        (["--estimand", "coefficient:wage~income"], "needs column(s) ['wage']"),
        (["--sizes", "much"], "must be a number"),
        (["--sizes", "nan"], "sizes must be"),
        (["--unit", "column", "--by", "slope", "--sizes", "1"], "leave it out"),
        (["--draws", "1", "--models", "1"], "n_draws must be"),
        (["--output", "sweep.txt"], "--output must be a .csv file"),
        (["--report", "nowhere/sweep.html"], "nowhere of --report does not exist"),
        (["--output", "survey.csv"], "it would be lost"),
        (["--load", "models", "--steps", "9"], "--steps cannot apply"),
        (["--load", "models"], "models"),
        (["--sign", "-1"], "leave --sign out"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(given, match, capsys, tmp_path):
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    quick = [] if "--load" in given else QUICK
    if "--sign" in given:
        quick = quick[:-2]
    assert cli.main([*ASKED, *quick, *given]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert match in line
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
