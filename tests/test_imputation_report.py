from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from test_report import Tags

from notmiwae import MIWAEImputer, NotMIWAEImputer
from notmiwae.cli import main
from notmiwae.report import imputation_report
from notmiwae.report.imputation import drawings, wording
from notmiwae.report.imputation.findings import Findings, gather

SMALL = {
    "hidden": (8,),
    "n_latent": 2,
    "n_samples": 2,
    "max_steps": 20,
    "n_models": 2,
    "n_impute_samples": 40,
    "random_state": 0,
}


def survey(n_rows=120):
    """High incomes are withheld, ages are lost by chance, and weight and height together."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=n_rows)
    table = pd.DataFrame(
        {
            "income": 40 + 9 * z + rng.normal(size=n_rows),
            "age": 45 + 8 * z + 4 * rng.normal(size=n_rows),
            "height": 170 + 9 * rng.normal(size=n_rows),
            "weight": 70 + 9 * rng.normal(size=n_rows),
            "years <of> school": 13 + z,
        },
        index=[f"person {i}" for i in range(n_rows)],
    )
    table.loc[table["income"] > 46, "income"] = np.nan
    table.loc[rng.random(n_rows) < 0.2, "age"] = np.nan
    table.loc[rng.random(n_rows) < 0.1, ["height", "weight"]] = np.nan
    return table


@pytest.fixture(scope="module")
def fitted():
    return NotMIWAEImputer(**SMALL).fit(survey())


@pytest.fixture(scope="module")
def found(fitted):
    return gather(fitted, survey(), max_rows=1000)


@pytest.fixture(scope="module")
def html(fitted, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert imputation_report(fitted, survey(), path, command="notmiwae impute <a>.csv") == path
    return path.read_text("utf-8")


def row(html, first):
    """Return the cells of every line that starts with `first`."""
    lines = [Tags(line).cells for line in re.findall(r"<tr[^>]*>.*?</tr>", html, re.DOTALL)]
    return [cells[1:] for cells in lines if cells[0] == first]


def test_the_page_asks_for_no_other_file(html):
    for tag, attributes in Tags(html).tags:
        assert tag not in ("script", "link", "iframe", "object")
        for name in ("src", "href", "srcset", "data"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert not re.search(r"url\(|@import|https?://", re.sub(r'src="data:[^"]*"', "", html))


def test_every_figure_says_in_words_what_it_shows(html, fitted):
    images = [attributes for tag, attributes in Tags(html).tags if tag == "img"]
    # patterns, pairs, curves and histograms of four columns, models in training, a sweep
    assert len(images) == 2 + 4 + 4 + len(fitted.models_) + 1
    assert all(len(image["alt"]) > 40 for image in images)
    assert len({image["alt"] for image in images}) == len(images)


def test_what_a_user_wrote_is_escaped(html):
    assert "years &lt;of&gt; school" in html
    assert "notmiwae impute &lt;a&gt;.csv" in html
    assert "<of>" not in html


def test_shares_are_those_of_the_table(html):
    table = survey()
    for name in ["income", "age", "height", "weight"]:
        said = row(html, name)
        share = wording.percent(table[name].isna().mean())
        assert said[0][0] == share
        assert said[1][:2] == [str(table[name].isna().sum()), share]
    assert f"{table.notna().all(axis=1).sum()} of 120 rows" in html


def test_filled_values_are_summarised_by_their_draws(found, html):
    for name in found.modelled:
        (_, finding, observed, filled, _) = row(html, name)[0]
        assert observed == wording.number(survey()[name].mean())
        assert filled == wording.number(found.filled(name).mean())
        assert finding == found.mechanism.loc[name, "finding"]


def test_the_comparison_of_mechanisms_is_that_of_the_imputer(fitted, html):
    for name, bound in fitted.selection_.bounds.items():
        assert row(html, name)[0][0] == wording.minus(f"{bound:.2f}")
    marked = re.search(r'<th scope="row" data-best="kept">([^<]*)</th>', html)[1]
    assert marked == fitted.selection_.chosen


def test_curves_are_the_learned_probabilities(found, fitted):
    grid, curve = found.curve("income")
    np.testing.assert_allclose(curve, fitted.missing_probability("income", grid))
    assert grid[0] < np.nanquantile(survey()["income"], 0.05)
    assert grid[-1] > np.quantile(found.filled("income"), 0.95)


def test_the_sweep_is_about_the_column_with_the_most_holes(found, html):
    sweep = found.sweep(max_rows=1000)
    assert sweep.column == found.holed[0] == "income"
    assert sweep.table["estimate"].is_monotonic_increasing
    assert "What if the missing values of income are not what they seem?" in html
    assert len(found.sweep(max_rows=50).table) == len(sweep.table)


def test_cells_are_ordered_by_their_uncertainty(found):
    cells = found.cells()
    assert len(cells) == survey().isna().sum().sum()
    assert cells["width"].is_monotonic_decreasing
    first = cells.iloc[0]
    assert first["low"] < first["mean"] < first["high"]
    assert np.isnan(survey().loc[first["row"], first["column"]])


def test_rows_that_miss_a_column_are_compared_with_the_others(found):
    apart = found.apart("income")
    table = survey()
    gone = table["income"].isna()
    others = table.drop(columns="income")
    differences = (others[gone].mean() - others[~gone].mean()) / others.std(ddof=0)
    assert apart.column == differences.abs().idxmax() == "years <of> school"
    assert apart.difference == pytest.approx(differences[apart.column])
    assert apart.real
    assert not found.apart("height").real


def test_chance_alone_is_called_real_in_one_table_of_twenty():
    rng = np.random.default_rng(1)
    n_real = 0
    for _ in range(60):
        values = pd.DataFrame(rng.normal(size=(100, 4)), columns=list("abcd"))
        values = values.mask(rng.random(values.shape) < 0.2)
        found = Findings(None, values, values.isna(), np.arange(100), None, None, None)
        n_real += any(found.apart(name).real for name in values)
    assert 1 <= n_real <= 8


def test_a_long_table_is_sampled(fitted):
    found = gather(fitted, survey(), max_rows=10)
    assert len(found.rows) == len(set(found.rows)) == len(found.diagnosis) == 10
    assert survey().iloc[found.rows].isna().any(axis=1).all()
    assert "10 rows with holes, drawn by chance from" in wording.looked_at(found)


@pytest.mark.parametrize("kind", ["array", "miwae", "stand-in", "empty column", "nothing missing"])
def test_any_table_has_a_report(tmp_path, kind):
    table = survey().to_numpy(copy=True)[:40]
    imputer = NotMIWAEImputer("self-masking", **SMALL)
    if kind == "miwae":
        imputer = MIWAEImputer(**SMALL)
    if kind == "stand-in":
        table = np.nan_to_num(table, nan=-9.0)
        imputer.set_params(missing_values=-9.0)
    if kind == "empty column":
        table[:, 2] = np.nan
    if kind == "nothing missing":
        table = np.nan_to_num(table, nan=40.0)
    if kind == "empty column":
        with pytest.warns(UserWarning, match="nothing is observed"):
            imputer.fit(table)
    else:
        imputer.fit(table)
    path = imputation_report(imputer, table, tmp_path / "report.html")
    html = path.read_text("utf-8")
    expected = {
        "nothing missing": "there was nothing to fill",
        "miwae": "says nothing about the value",
    }
    assert expected.get(kind, "column 0") in html
    assert re.search(r"\bnan\b", re.sub(r'src="data:[^"]*"', "", html)) is None


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, "0"), (1234567, "1.23e+06"), (-0.0512, "−0.0512"), (40.123, "40.12"), (np.nan, "–")],
)
def test_numbers_are_short(value, said):
    assert wording.number(value) == said


def test_patterns_are_drawn_as_they_are():
    present = np.array([[True, True], [False, True]])
    (axes,) = drawings.patterns(present, ["90 %", "10 %"], ["a", "b"]).axes
    coloured = [
        (line.get_xdata()[0], line.get_ydata()[0])
        for line in axes.lines
        if line.get_color() == drawings.FILLED
    ]
    assert coloured == [(0, 1)]


def test_histograms_have_equal_areas():
    rng = np.random.default_rng(0)
    (axes,) = drawings.distributions(rng.normal(size=500), rng.normal(1, 1, size=50)).axes
    areas = [patch.get_data().values.sum() for patch in axes.patches]
    np.testing.assert_allclose(areas, 1, atol=0.03)


def test_labels_are_shown_by_their_shares(tmp_path):
    table = survey().drop(columns=["height", "weight"])
    table["owner"] = np.where(table["years <of> school"] > 13, "yes", "no")
    table["owner"] = table["owner"].astype(object).mask(np.arange(120) % 4 == 0)
    imputer = NotMIWAEImputer("self-masking", **SMALL).fit(table)
    found = gather(imputer, table, max_rows=1000)
    observed, filled = found.shares("owner")
    shares = table["owner"].value_counts(normalize=True)
    np.testing.assert_allclose(observed, shares[["no", "yes"]])
    assert filled.sum() == pytest.approx(1)
    html = imputation_report(imputer, table, tmp_path / "r.html").read_text("utf-8")
    said = row(html, "owner")[0]
    assert said[2] == f"{shares.index[0]}: {wording.percent(shares.iloc[0])}"
    assert "Bars for the labels of owner" in html
    assert "What if the missing values of income are not what they seem?" in html


class TestCommandLine:
    @pytest.fixture
    def table(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        survey().drop(columns="years <of> school").to_csv("survey.csv", index=False)
        return tmp_path

    def test_writes_the_report(self, table, capsys):
        command = ["impute", "survey.csv", "-o", "filled.csv", "--report", "report.html"]
        arguments = ["--steps", "10", "--mechanism", "self-masking", "--samples", "30"]
        assert main([*command, *arguments, "--save", "model"]) == 0
        assert "report.html: the report" in capsys.readouterr().err
        html = (table / "report.html").read_text("utf-8")
        assert "Imputation of survey.csv" in html
        assert "notmiwae impute survey.csv -o filled.csv --report report.html --steps 10" in html
        assert main([*command, "--load", "model"]) == 0
        assert "--load model" in (table / "report.html").read_text("utf-8")

    @pytest.mark.parametrize(
        ("report", "said"),
        [("report.txt", "must be a .html file"), ("none/report.html", "in a folder that exists")],
    )
    def test_mistakes(self, table, capsys, report, said):
        assert main(["impute", "survey.csv", "-o", "filled.csv", "--report", report]) == 2
        assert said in capsys.readouterr().err
        assert [file.name for file in table.iterdir()] == ["survey.csv"]

    def test_a_table_without_holes_has_none(self, table, capsys):
        survey().dropna().to_csv("whole.csv", index=False)
        assert main(["impute", "whole.csv", "-o", "filled.csv", "--report", "r.html"]) == 2
        assert "no hole to report on" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_in_a_browser(html, open_in_browser, width):
    said = open_in_browser(html, width)
    assert said["said"] == said["asked"] == []
    assert len(said["sizes"]) == html.count("<img")
    assert all(min(size) > 0 for size in said["sizes"])
    assert said["overflow"] <= 0
