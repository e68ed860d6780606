from __future__ import annotations

import csv
import json
import re
import sys
import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from notmiwae import NotMIWAEImputer
from notmiwae.experiments import STUDIES, breast
from notmiwae.experiments.baselines import BASELINES, fit_quietly
from notmiwae.experiments.results import Published, Results, Row, command, mean_sd, spread
from notmiwae.metrics import rmse

FAST = {"max_steps": 3, "n_impute_samples": 5, "n_samples": 2, "hidden": (4,), "n_jobs": 1}
METHODS = ["column mean", "not-MIWAE self-masking", "not-MIWAE linear"]


def split(line):
    return re.split(r"\s{2,}", line)


@pytest.fixture(scope="module")
def problem():
    return breast.make_problem()


def run(folder, **options):
    return STUDIES["breast"](output=folder, methods=METHODS, **FAST, **options)


def without_durations(record):
    if isinstance(record, dict):
        kept = {k: v for k, v in record.items() if k not in ("seconds", "duration_seconds")}
        return {key: without_durations(value) for key, value in kept.items()}
    return [without_durations(v) for v in record] if isinstance(record, list) else record


def test_thresholds_and_scales_come_from_the_training_rows(problem):
    x = load_breast_cancer().data
    training, held_out = train_test_split(x, test_size=0.2, random_state=42, shuffle=True)
    above = held_out > training.mean(0)
    above[:, 15:] = False
    np.testing.assert_array_equal(np.isnan(problem.held_out_holes), above)
    scaled = (held_out - training.mean(0)) / training.std(0)
    np.testing.assert_allclose(problem.held_out, scaled)


def test_thresholds_of_the_held_out_rows_would_delete_other_cells(problem):
    own = problem.held_out[:, :15] > problem.held_out[:, :15].mean(0)
    assert (np.isnan(problem.held_out_holes[:, :15]) != own).any()


def test_only_the_first_half_of_the_columns_has_holes():
    problem = breast.make_problem(29)
    holes = np.isnan(problem.training_holes)
    assert holes.shape[1] == 29
    assert holes[:, :14].any(0).all()
    assert not holes[:, 14:].any()


def test_the_true_rule_steps_from_0_to_1_at_the_mean(problem):
    rule, grid = breast.true_rule(problem), breast.grids(problem)
    np.testing.assert_array_equal(rule, grid > 1e-9)


def test_published_numbers_are_those_of_the_report():
    values = {name: number.value for name, number in breast.PUBLISHED.items()}
    assert values == {
        "column mean": 1.816,
        "5-NN": 1.537,
        "MICE": 0.829,
        "missForest": 1.462,
        "not-MIWAE self-masking": 1.127,
        "not-MIWAE self-masking-known": 1.195,
        "not-MIWAE linear": 0.868,
        "not-MIWAE nonlinear": 0.862,
    }
    assert set(values) <= set(breast.METHODS)


def test_published_numbers_that_truth_selected_say_so():
    for name, number in breast.PUBLISHED.items():
        assert ("selected with the true values" in number.note) == name.startswith("not-MIWAE")


def test_table_shows_held_out_errors_beside_published_ones(tmp_path, problem):
    results = run(tmp_path)
    lines = {cells[0]: cells[1:] for line in results.table().splitlines() if (cells := split(line))}
    observed = np.nanmean(problem.training_holes, axis=0)
    filled = np.where(np.isnan(problem.held_out_holes), observed, problem.held_out_holes)
    error = rmse(problem.held_out, filled, ~np.isnan(problem.held_out_holes))
    assert lines["column mean"][:2] == [f"{error:.3f}", "1.816†"]
    assert lines["not-MIWAE linear"][1] == "0.868*"
    assert "selected with the true values" in results.table()


def test_results_depend_on_the_seed_alone(tmp_path):
    for folder in ("a", "b"):
        run(tmp_path / folder, seed=3)
    run(tmp_path / "c", seed=4)
    a, b, c = (
        without_durations(json.loads((tmp_path / folder / "results.json").read_text()))
        for folder in "abc"
    )
    assert a == b
    assert a["metadata"]["seeds"] == [3]
    assert a["summary"] != c["summary"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_results_do_not_depend_on_the_number_of_processes(tmp_path):
    alone = run(tmp_path / "alone")
    options = FAST | {"n_jobs": 2}
    together = STUDIES["breast"](output=tmp_path / "together", methods=METHODS, **options)
    assert [row.metrics for row in alone.rows] == [row.metrics for row in together.rows]


def test_files_hold_the_same_rows(tmp_path):
    results = run(tmp_path)
    record = json.loads((tmp_path / "results.json").read_text())
    lines = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert len(lines) == len(record["rows"]) == len(results.rows) == 2 * len(METHODS)
    for line, row in zip(lines, record["rows"], strict=True):
        assert float(line["rmse"]) == row["metrics"]["rmse"]
        assert (line["method"], line["split"]) == (row["method"], row["split"])
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"results.json", "results.csv", "report.html"}


def test_metadata_says_how_to_repeat_the_run(tmp_path):
    about = run(tmp_path).metadata
    assert set(about["versions"]) == {"python", "notmiwae", "torch", "numpy", "scikit-learn"}
    assert {"command", "seeds", "platform", "cpu_count", "duration_seconds"} <= set(about)
    assert about["n_missing_held_out_cells"] == 735
    assert about["settings"]["max_steps"] == 3


def test_every_mechanism_but_the_ignorable_is_a_method():
    mechanisms = {name.removeprefix("not-MIWAE ") for name in breast.METHODS if "not-" in name}
    assert mechanisms == set(breast.MECHANISM_NAMES) - {"ignorable"}


def test_the_page_can_explain_and_colour_every_method():
    breast_page = pytest.importorskip("notmiwae.experiments.breast_page")
    assert set(breast_page.METHODS) == set(breast.METHODS)
    assert set(breast_page.COLOURS) == set(breast.METHODS) - set(BASELINES)


def test_what_a_preset_leaves_out_is_a_method():
    for preset in breast.PRESETS.values():
        assert set(preset.left_out) <= set(breast.METHODS)


@pytest.mark.parametrize("wrong", [{"preset": "fast"}, {"methods": ["mode"]}, {"n_columns": 31}])
def test_a_mistake_is_named_before_any_work(tmp_path, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be .*; got"):
        STUDIES["breast"](output=tmp_path, **wrong)
    assert not list(tmp_path.iterdir())


def test_missing_extra_is_named_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"pip install 'notmiwae\[report\]'"):
        STUDIES["breast"](output=tmp_path)
    assert not list(tmp_path.iterdir())


def test_learned_probability_is_the_one_that_the_mechanism_has(problem):
    imputer = NotMIWAEImputer("self-masking", max_steps=3, hidden=(4,), random_state=0)
    imputer.fit(problem.training_holes)
    mechanism, scaler = imputer.model_.mechanism, imputer.preprocessing_
    mechanism.weight.data.fill_(2.0)
    mechanism.intercept.data.fill_(-1.0)
    half = scaler.mean[4] + 0.5 * scaler.std[4]  # 2 x - 1 = 0, in the model's units
    grid = np.array([half - 10 * scaler.std[4], half, half + 10 * scaler.std[4]])
    learned = breast.missing_probability(imputer, problem.held_out, 4, grid)
    np.testing.assert_allclose(learned, [0, 0.5, 1], atol=1e-6)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_fill_every_cell_and_keep_the_observed(name):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 3))
    holes = np.where(rng.random(x.shape) < 0.2, np.nan, x)
    imputer = BASELINES[name](0, quick=True)
    fit_quietly(imputer, holes)
    filled = imputer.transform(holes)
    assert np.isfinite(filled).all()
    np.testing.assert_array_equal(filled[~np.isnan(holes)], holes[~np.isnan(holes)])


class Talkative(BaseEstimator):
    def fit(self, X):
        warnings.warn("not there yet", ConvergenceWarning, stacklevel=2)
        warnings.warn("watch out", UserWarning, stacklevel=2)


def test_convergence_warnings_are_noted_and_others_are_shown():
    with pytest.warns(UserWarning, match="watch out") as shown:
        notes = fit_quietly(Talkative(), np.zeros((1, 1)))
    assert notes == ("not there yet",)
    assert len(shown) == 1


def test_summary_is_mean_and_sample_deviation_over_seeds():
    rows = [Row("m", "d", seed, "held-out", {"rmse": v}, 1.0) for seed, v in enumerate([1, 2, 6])]
    (entry,) = Results("s", "t", rows, {}).summary()
    assert entry["n_seeds"] == 3
    assert entry["rmse"] == {"mean": 3.0, "sd": pytest.approx(np.std([1, 2, 6], ddof=1))}


def test_one_seed_has_no_spread_and_equal_seeds_show_none():
    assert spread(mean_sd([0.5])) == "0.500"
    assert spread(mean_sd([0.5, 0.5])) == "0.500"
    assert spread(mean_sd([-0.5, -0.7])) == "−0.600 ± 0.141"


def test_columns_of_the_table_are_aligned():
    values = {"a": [1.0, 1.5], "longer": [0.25, 0.25]}
    rows = [
        Row(name, "d", seed, "held-out", {"rmse": value}, 12.0)
        for name, pair in values.items()
        for seed, value in enumerate(pair)
    ]
    published = {"a": Published(9.0, "*", "somewhere")}
    header, _, first, second = Results("s", "t", rows, {}, published).table().splitlines()[2:6]
    assert len(header) == len(first) == len(second)
    assert first.index("1.250 ± 0.354") == second.index("0.250")


@pytest.mark.parametrize("program", ["/somewhere/bin/notmiwae", "/elsewhere/notmiwae/__main__.py"])
def test_the_command_is_what_one_would_type(program):
    line = command([program, "reproduce", "breast", "--output", "my folder"])
    assert line.endswith("notmiwae reproduce breast --output 'my folder'")
    assert "/" not in line
