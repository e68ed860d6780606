import csv
import json

import numpy as np
import pytest

from notmiwae.experiments import STUDIES, coverage
from notmiwae.experiments.coverage import BEFORE, ESTIMANDS, Case, Preset, methods
from notmiwae.experiments.coverage.problem import DELETIONS, MEAN, SPREAD, simulate, survey
from notmiwae.experiments.results import Row

TINY = {"max_steps": 3, "n_models": 2, "n_impute_samples": 5}


def test_a_survey_has_the_mean_and_the_coefficient_that_it_says():
    table = survey(100_000, np.random.default_rng(0))
    for estimand, truth in ESTIMANDS.values():
        estimate, variance, _ = estimand(table)
        assert abs(estimate - truth) < 4 * variance**0.5
    assert table["income"].std() == pytest.approx(SPREAD, rel=0.01)


@pytest.mark.parametrize("deletion", DELETIONS)
def test_about_four_incomes_in_ten_are_deleted_and_nothing_else(deletion):
    complete, holes = simulate(deletion, 0, 20_000)
    assert holes["income"].isna().mean() == pytest.approx(0.4, abs=0.03)
    seen = holes["income"].notna()
    assert holes[seen].equals(complete[seen])
    assert holes[["age", "education"]].equals(complete[["age", "education"]])


def test_deletions_do_as_they_say():
    gaps = {}
    for deletion in DELETIONS:
        complete, holes = simulate(deletion, 0, 20_000)
        x = complete[["age", "education"]].assign(one=1.0)
        noise = complete["income"] - x @ [0.5, 3, 40 - 0.5 * 45 - 3 * 13]
        gone = holes["income"].isna()
        gaps[deletion] = [
            part[gone].mean() - part[~gone].mean() for part in (complete["income"], noise)
        ]
    assert np.abs(gaps["MCAR"]).max() < 0.5
    assert gaps["MAR"][0] > 5  # by age and education, and given these not by the income
    assert abs(gaps["MAR"][1]) < 0.5
    assert min(gaps["self-masking"]) > 5


def test_every_seed_has_a_survey_of_its_own_the_same_for_all_deletions():
    first, other = (simulate("MCAR", seed, 50)[0] for seed in (0, 1))
    assert first.equals(simulate("self-masking", 0, 50)[0])
    assert not first.equals(other)


@pytest.fixture
def _tiny(monkeypatch):
    for name, value in TINY.items():
        monkeypatch.setitem(methods.SMALL, name, value)


@pytest.mark.usefixtures("_tiny")
@pytest.mark.parametrize("method", [BEFORE, *methods.METHODS])
def test_every_method_gives_an_interval_around_its_estimate(method):
    row = coverage.compute(Case(method, "self-masking", 0), 80)
    for name in ESTIMANDS:
        low, estimate, high = (
            row.metrics[f"{name}_{part}"] for part in ("low", "estimate", "high")
        )
        assert low < estimate < high
    again = coverage.compute(Case(method, "self-masking", 0), 80)
    assert again.metrics == row.metrics


def test_the_complete_survey_is_analysed_as_one_would():
    complete, _ = simulate("MCAR", 3, 100)
    metrics = coverage.compute(Case(BEFORE, "MCAR", 3), 100).metrics
    incomes = complete["income"]
    assert metrics["mean_estimate"] == pytest.approx(incomes.mean())
    assert metrics["mean_std_error"] == pytest.approx(incomes.std() / 10)


def row(low, high, seed=0):
    estimate, half = (low + high) / 2, (high - low) / 2
    numbers = {"estimate": estimate, "std_error": half / 2, "low": low, "high": high}
    metrics = {f"{name}_{part}": value for name in ESTIMANDS for part, value in numbers.items()}
    return Row("a", "MCAR", seed, "all rows", metrics, 1.0)


def test_coverage_counts_intervals_that_hold_the_truth():
    rows = [row(MEAN - 1, MEAN + 3), row(MEAN - 4, MEAN), row(MEAN + 1, MEAN + 3), row(30, 50)]
    found = coverage.judge(rows, "mean", MEAN)
    assert found.coverage == 0.75
    assert found.coverage_error == pytest.approx((0.75 * 0.25 / 4) ** 0.5)
    assert found.bias == pytest.approx((1 - 2 + 2 + 0) / 4)
    assert found.width == pytest.approx((4 + 4 + 2 + 20) / 4)
    assert found.std_error == pytest.approx(found.width / 4)
    assert found.spread == pytest.approx(np.std([1, -2, 2, 0], ddof=1))


@pytest.mark.usefixtures("_tiny")
def test_the_study_writes_what_it_found_and_goes_on_where_it_was(monkeypatch, tmp_path):
    small = Preset({"MCAR": 2, "self-masking": 3}, n_people=60)
    monkeypatch.setitem(coverage.PRESETS, "quick", small)
    results = STUDIES["coverage"]("quick", tmp_path, n_jobs=1, methods=["complete cases", "MICE"])
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["performance"]["mean"]["self-masking"]["MICE"]["n_simulations"] == 3
    with open(tmp_path / "results.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == (2 + 3) * 3 * len(ESTIMANDS)
    text = results.table()
    assert "coefficient" in text
    assert BEFORE in text
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "Does a 95% interval hold the truth" in page
    again = coverage.run("quick", tmp_path, n_jobs=1, methods=["complete cases", "MICE"])
    assert again.rows == results.rows  # from the file, times included


@pytest.mark.slow
def test_intervals_hold_the_truth_under_self_masking_where_others_fail():
    held = {"not-MIWAE self-masking": 0, "complete cases": 0, "MICE": 0}
    for method in held:
        for seed in range(1000, 1012):
            metrics = coverage.compute(Case(method, "self-masking", seed), 300).metrics
            held[method] += metrics["mean_low"] <= MEAN <= metrics["mean_high"]
    assert held["not-MIWAE self-masking"] >= 9
    assert max(held["complete cases"], held["MICE"]) <= 6
