from __future__ import annotations

import csv
import json
import math
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from notmiwae import NotMIWAEImputer
from notmiwae.experiments import STUDIES, breast
from notmiwae.experiments.baselines import BASELINES
from notmiwae.experiments.breast import faults as breast_faults
from notmiwae.experiments.breast import methods as breast_methods
from notmiwae.experiments.breast import problem as breast_problem
from notmiwae.experiments.breast import reported as breast_report
from notmiwae.experiments.breast.faults import ALL, FAULTS, NONE
from notmiwae.experiments.breast.methods import (
    ABLATION,
    ALL_SIX,
    DEFAULT,
    FITS,
    NAMED,
    as_reported,
)
from notmiwae.experiments.breast.problem import FIRST, TABLES, Rows
from notmiwae.experiments.breast.published import PUBLISHED, REPORTED_ERRORS
from notmiwae.experiments.breast.reported import Effort
from notmiwae.experiments.results import HELD_OUT
from notmiwae.metrics import rmse
from notmiwae.model import LatentVariableModel
from notmiwae.training import fit, mean_bound

FAST = {
    "max_steps": 3,
    "n_impute_samples": 5,
    "n_samples": 2,
    "hidden": (4,),
    "n_models": 1,
    "n_epochs": 1,
    "n_jobs": 1,
}
LINEAR = as_reported("linear", "Gaussian")
METHODS = ["column mean", "not-MIWAE self-masking-quadratic", LINEAR]
THEIR_TABLES = """
self-masking        1.127 1.180 1.683 1.826 1.288 1.303
self-masking-known  1.195 1.260 1.895 1.905 1.438 1.326
linear              0.868 0.896 1.415 1.501 1.097 1.209
nonlinear           0.862 0.873 1.512 1.538 0.925 0.960
"""


@pytest.fixture(scope="module")
def problem():
    return breast_problem.make_problem(FIRST, 30)


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch):
    """Fill by a few draws; what the numbers are worth is not tested here."""
    fill = breast_report.fill_rows
    few = {"n_samples": 5}
    monkeypatch.setattr(
        breast_report,
        "fill_rows",
        lambda model, faults, holes, _=5: fill(model, faults, holes, **few),
    )


def run(folder, **options):
    return STUDIES["breast"](output=folder, **{"methods": METHODS, **FAST, **options})


def some_starts(table, *seeds):
    problem = breast_problem.make_problem(table)
    return [breast_report.Start(problem, seed) for seed in seeds or (0,)]


def a_model(faults=NONE, mechanism="linear", n_features=6, observation="gaussian"):
    """Return a model with the mechanism away from its start, rows and mask."""
    x, mask = torch.randn(8, n_features), (torch.rand(8, n_features) < 0.6).float()
    torch.manual_seed(1)
    model = breast_report.build(mechanism, observation, mask, faults)
    with torch.no_grad():
        for weights in model.mechanism.parameters():
            weights.normal_()
    return model, x * mask, mask


# the problem


def test_thresholds_and_scales_come_from_the_training_rows(problem):
    x = load_breast_cancer().data
    training, held_out = train_test_split(x, test_size=0.2, random_state=42, shuffle=True)
    above = held_out > training.mean(0)
    above[:, 15:] = False
    np.testing.assert_array_equal(problem.held_out.missing, above)
    scaled = (held_out - training.mean(0)) / training.std(0)
    np.testing.assert_allclose(problem.held_out.truth, scaled)


@pytest.mark.parametrize("table", TABLES)
def test_other_held_out_rows_would_not_move_a_threshold(table, monkeypatch):
    dataset = breast_problem.load("breast")
    _, held_out = train_test_split(np.arange(569), **breast_problem.SPLIT)
    before = breast_problem.make_problem(table)
    changed = dataset.x.copy()
    changed.iloc[held_out] *= 3
    monkeypatch.setattr(breast_problem, "load", lambda _: replace(dataset, x=changed))
    after = breast_problem.make_problem(table)
    np.testing.assert_array_equal(before.training.truth, after.training.truth)
    np.testing.assert_array_equal(before.training.holes, after.training.holes)
    np.testing.assert_array_equal(breast_problem.true_rule(before), breast_problem.true_rule(after))
    moved = before.leaky["own_scales"].missing != after.leaky["own_thresholds"].missing
    assert not moved.any()  # their own thresholds and scales follow them


@pytest.mark.parametrize("table", TABLES)
def test_own_thresholds_delete_other_cells(table):
    problem = breast_problem.make_problem(table)
    own = problem.leaky["own_thresholds"]
    np.testing.assert_array_equal(own.truth, problem.held_out.truth)
    assert (own.missing != problem.held_out.missing).any()
    # scaling a column does not change which of its values its own thresholds delete
    np.testing.assert_array_equal(own.missing, problem.leaky["own_scales"].missing)
    assert not np.allclose(problem.leaky["own_scales"].truth, own.truth)


@pytest.mark.parametrize("table", TABLES)
def test_the_last_column_is_cut_off_and_the_first_half_has_holes(table):
    problem = breast_problem.make_problem(table)
    missing = problem.training.missing
    assert missing.shape == (455, 29)
    assert missing[:, :14].any(0).all()
    assert not missing[:, 14:].any()


def test_the_first_table_deletes_above_the_mean_of_the_training_rows(problem):
    rule, grid = breast_problem.true_rule(problem), breast_problem.grids(problem)
    np.testing.assert_array_equal(rule, grid > 1e-9)


def test_binarised_values_say_whether_one_lies_above_the_training_median(problem):
    binary = breast_problem.binarised(problem)
    above = problem.held_out.truth > np.median(problem.training.truth, axis=0)
    np.testing.assert_array_equal(binary.held_out.truth, above)
    np.testing.assert_array_equal(binary.held_out.missing, problem.held_out.missing)
    assert binary.held_out.truth[binary.held_out.missing].mean() > 0.9  # as the page says


def test_learned_probability_is_the_one_that_the_mechanism_has(problem):
    imputer = NotMIWAEImputer("self-masking", max_steps=3, hidden=(4,), random_state=0)
    imputer.fit(problem.training.holes)
    mechanism, scaler = imputer.model_.mechanism, imputer.preprocessing_
    mechanism.weight.data.fill_(2.0)
    mechanism.intercept.data.fill_(-1.0)
    curves = breast_problem.learned_curves(
        mechanism, problem, problem.held_out.truth, scaler.standardise
    )
    score = 2 * (breast_problem.grids(problem)[4] - scaler.mean[4]) / scaler.std[4] - 1
    expected = torch.special.ndtr(torch.from_numpy(score))
    np.testing.assert_allclose(curves[4], expected, atol=1e-5)


# the report's models


@pytest.mark.parametrize(
    ("mechanism", "count"),
    [("self-masking", 58), ("self-masking-known", 58), ("linear", 870), ("nonlinear", 7581)],
)
def test_mechanisms_have_as_many_weights_as_the_report_says(mechanism, count):
    model, _, _ = a_model(mechanism=mechanism, n_features=29)
    assert breast_report.n_weights(model) == count


def test_training_in_stages_ends_where_an_uninterrupted_one_does(monkeypatch):
    paused, x, mask = a_model()
    through, _, _ = a_model()
    through.load_state_dict(paused.state_dict())
    monkeypatch.setattr(breast_report, "one_table", lambda _: (x, mask, torch.arange(8)[None]))
    starts = [breast_report.Start(breast_problem.make_problem(FIRST), 3)]
    steps = [*breast_report.stages([paused], starts, n_epochs=40)]
    schedule = lambda optimizer, n: breast_report.one_cycle(optimizer, n, **breast_report.CYCLE)  # noqa: E731
    fit(through, x, mask, max_steps=40, schedule=schedule, seed=3, **breast_report.TRAINING)
    assert steps == [1, *range(2, 41, 2)]
    for name, weights in through.state_dict().items():
        torch.testing.assert_close(paused.state_dict()[name], weights)


def test_the_error_of_the_best_look_is_no_larger_than_the_last():
    [found] = FITS[LINEAR](some_starts(FIRST), Effort(n_epochs=1))
    assert found.metrics["rmse_best_seen"] <= found.metrics["rmse"]
    assert found.metrics["rmse_best_seen"] <= min(found.arrays["errors_seen"])


def test_zeros_and_ones_are_summed_over_and_not_drawn():
    model, _, _ = a_model(mechanism="self-masking", observation="bernoulli")
    assert model.integrated
    with pytest.raises(ValueError, match="Bernoulli observation cannot be drawn"):
        a_model(mechanism="linear", observation="bernoulli")


def test_score_of_probabilities():
    rows = Rows(np.array([[1.0, 0.0, 1.0]]), np.array([[np.nan, np.nan, 1.0]]))
    found = breast_report.score_binary(rows, np.array([[0.9, 0.6, 1.0]]))
    assert found.metrics["error_rate"] == 0.5
    assert found.metrics["rmse"] == pytest.approx(math.sqrt((0.1**2 + 0.6**2) / 2))


# the faults


def test_without_a_fault_the_model_is_the_librarys():
    model, x, mask = a_model()
    sound = LatentVariableModel(
        model.encoder, model.observation, model.mechanism, integrate="sample"
    )
    torch.testing.assert_close(mean_bound(model, x, mask, 7, 0), mean_bound(sound, x, mask, 7, 0))


def test_the_faulty_bound_sums_over_rows():
    log_weights = torch.randn(3, 5)
    expected = log_weights.exp().mean(1).log()
    torch.testing.assert_close(breast_faults.batch_bound(log_weights), expected)
    assert breast_faults.bound(frozenset({"bound"})) is breast_faults.batch_bound
    assert breast_faults.bound(ALL - {"bound"})(log_weights).shape == (5,)


@pytest.mark.parametrize("cut", [False, True])
def test_without_a_gradient_the_mechanism_does_not_reach_the_decoder(cut):
    model, x, mask = a_model(frozenset({"gradient"}) if cut else NONE)
    likelihood = model.observation(torch.randn(4, len(x), breast_report.N_LATENT))
    _, log_mechanism = model.explain(likelihood, x, mask)
    weights = list(model.observation.parameters())
    gradients = torch.autograd.grad(log_mechanism.sum(), weights, allow_unused=True)
    assert all((g is None or not g.any()) == cut for g in gradients)


def test_wrong_axes_complete_a_draw_from_the_row_of_its_number():
    model, x, mask = a_model(frozenset({"axes"}))
    likelihood = model.observation(torch.randn(len(x), len(x), breast_report.N_LATENT))
    torch.manual_seed(0)
    missing, log_mechanism = model.explain(likelihood, x, mask)
    k, n = 2, 5
    completed = torch.where(mask[k].bool(), x[k], missing.mean[k, n])
    torch.testing.assert_close(log_mechanism[k, n], model.mechanism(completed).log_prob(mask[k]))
    assert model(x, mask, 3).log_weights.shape == (len(x), len(x))


def test_exponential_means_are_positive_and_nearly_the_same_in_all_rows():
    model, x, mask = a_model(frozenset({"exponential"}))
    options = {"n_samples": 5, "batch_size": 8}
    filled = breast_faults.impute(model, x, mask, frozenset({"exponential"}), **options)
    assert filled.shape == x.shape
    assert (filled > 0).all()
    weights = model(x, mask, len(x)).log_weights.softmax(0)
    torch.testing.assert_close(weights.sum(0), torch.ones(len(x)))


def test_a_rectified_mean_leaves_the_scale_alone():
    torch.manual_seed(0)
    plain = breast_faults.decoder(NONE, 2, 3)(6)
    rectified = breast_faults.RectifiedMean(plain, 3)
    raw, cut = plain(z := torch.randn(20, 2)), rectified(z)
    torch.testing.assert_close(cut[..., :3], raw[..., :3].relu())
    torch.testing.assert_close(cut[..., 3:], raw[..., 3:])
    assert (raw[..., :3] < 0).any()


def test_models_of_several_tables_learn_from_their_own_rows_only():
    """A model starts as it does alone, and the values of another table do not reach it."""
    spoiled = breast_problem.make_problem("extremes")
    spoiled.training.holes[~np.isnan(spoiled.training.holes)] *= 1e3
    results = []
    for other in (breast_problem.make_problem("extremes"), spoiled):
        starts = [*some_starts(FIRST, 4), breast_report.Start(other, 4)]
        models = breast_report.build_all(starts, "linear", "gaussian")
        assert len([*breast_report.stages(models, starts, n_epochs=1)]) == 15
        results.append(torch.cat([weights.flatten() for weights in models[0].parameters()]))
    assert torch.equal(*results)


def test_cases_are_fitted_in_one_go_where_that_saves_work():
    names = [LINEAR, DEFAULT, "column mean"]
    cases = [
        breast.Case(name, table, seed) for name in names for table in TABLES for seed in range(2)
    ]
    groups = breast.in_one_go(cases)
    assert sorted(map(len, groups)) == [1] * 6 + [6, 6]
    assert {case for group in groups for case in group} == set(cases)
    assert all(len({case.method for case in group}) == 1 for group in groups)


def test_what_no_seed_makes_a_difference_to_is_computed_once():
    starts = [*some_starts(FIRST, 0, 1), *some_starts("extremes")]
    first, second, other = FITS["column mean"](starts, Effort())
    assert first is second
    assert first.metrics["rmse"] != other.metrics["rmse"]


@pytest.mark.parametrize("fault", [*FAULTS, "all six"])
def test_every_fault_can_be_trained(fault):
    faults = breast_methods.SWITCHED[fault]
    starts = some_starts(FIRST, 0, 1)
    found, other = breast_report.fit_report("nonlinear", "gaussian", faults, starts, Effort(1))
    assert found.metrics != other.metrics
    assert all(np.isfinite(value) for value in found.metrics.values())
    chosen_by_truth = found.metrics["rmse"] == found.metrics["rmse_best_seen_own_thresholds"]
    assert chosen_by_truth == ("selection" in faults)


def test_one_in_every_gap_is_as_far_off_as_what_was_deleted_is_from_one():
    problem = breast_problem.make_problem("extremes")
    rows = problem.leaky["own_thresholds"]
    error = np.sqrt(np.mean((rows.truth[rows.missing] - 1) ** 2))
    [found] = FITS[breast_methods.ONES]([breast_report.Start(problem, 0)], Effort())
    assert found.metrics["rmse"] == pytest.approx(error)


# the study


def test_published_numbers_are_those_of_the_report():
    for line in THEIR_TABLES.strip().splitlines():
        mechanism, *values = line.split()
        shown = [
            PUBLISHED[table][as_reported(mechanism, observation)].value
            for table in TABLES
            for observation in ("Gaussian", "Student-t")
        ]
        assert shown == list(map(float, values))
    assert len(REPORTED_ERRORS) == 4
    means = [PUBLISHED[table]["column mean"].value for table in TABLES]
    assert means == [1.816, 1.378, 0.250]
    for numbers in PUBLISHED.values():
        assert set(numbers) <= set(breast_methods.METHODS[HELD_OUT])


def test_published_numbers_that_truth_selected_say_so():
    for numbers in PUBLISHED.values():
        for name, number in numbers.items():
            assert ("selected with the true values" in number.note) == (name not in BASELINES)


def test_the_report_s_grid_is_whole():
    grid = {as_reported(m, o) for m in REPORTED_ERRORS for o in ("Gaussian", "Student-t")}
    for table, methods in breast.PRESETS["full"].methods.items():
        assert grid | {NAMED[table], DEFAULT, "MIWAE", *BASELINES} <= set(methods)
    assert set(breast.PRESETS["full"].methods[FIRST]) == set(FITS)


@pytest.mark.parametrize("preset", breast.PRESETS.values())
def test_what_a_preset_runs_exists(preset):
    assert set(preset.methods) == set(TABLES)
    assert {name for methods in preset.methods.values() for name in methods} <= set(FITS)


def test_some_methods_have_more_seeds_than_the_rest_of_a_preset():
    short, full = breast.PRESETS["short"], breast.PRESETS["full"]
    assert [short.seeds_of(name) for name in (NAMED[FIRST], "MICE", DEFAULT, LINEAR)] == [
        5,
        5,
        1,
        1,
    ]
    ablated = breast_methods.ablated("linear", ALL_SIX)
    assert [full.seeds_of(name) for name in (DEFAULT, ablated)] == [5, 1]


def test_table_shows_held_out_errors_beside_published_ones(tmp_path):
    results = run(tmp_path, tables=[FIRST])
    cells = (re.split(r"\s{2,}", line) for line in results.table().splitlines())
    lines = {name: rest for name, *rest in cells}
    rows = breast_problem.make_problem(FIRST).held_out
    observed = np.nanmean(breast_problem.make_problem(FIRST).training.holes, axis=0)
    error = rmse(rows.truth, np.where(rows.missing, observed, rows.holes), ~rows.missing)
    assert lines["column mean"][0] == f"{error:.3f}"
    assert lines["linear, Gaussian (published)"][0] == "0.868*"
    assert "selected with the true values" in results.table()


def test_members_of_the_ablation_that_need_no_fit_come_from_the_sound_one(tmp_path):
    rows = run(tmp_path, methods=[LINEAR], tables=[FIRST]).rows
    errors = {row.method: row.metrics for row in rows}
    assert errors["linear: no fault"] == {"rmse": errors[LINEAR]["rmse"]}
    best = errors[LINEAR]["rmse_best_seen_own_thresholds"]
    assert errors["linear: selection"] == {"rmse": best}
    assert {row.split for row in rows} == {HELD_OUT, ABLATION}


def without_durations(record):
    if isinstance(record, dict):
        kept = {k: v for k, v in record.items() if k not in ("seconds", "duration_seconds")}
        return {key: without_durations(value) for key, value in kept.items()}
    return [without_durations(v) for v in record] if isinstance(record, list) else record


def test_results_depend_on_the_seed_alone(tmp_path):
    for folder, seed in {"a": 3, "b": 3, "c": 4}.items():
        run(tmp_path / folder, seed=seed, tables=["around-mean"])
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
    alone = run(tmp_path / "alone", n_jobs=1)
    together = run(tmp_path / "together", n_jobs=2)
    assert [row.metrics for row in alone.rows] == [row.metrics for row in together.rows]


def test_an_interrupted_run_goes_on_from_where_it_was(tmp_path, monkeypatch):
    before = run(tmp_path, tables=[FIRST], methods=METHODS[:2])
    page = (tmp_path / "report.html").read_text("utf-8")

    def fail(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(breast, "compute", fail)
    after = run(tmp_path, tables=[FIRST], methods=METHODS[:2])
    assert [row.metrics for row in after.rows] == [row.metrics for row in before.rows]
    assert len((tmp_path / "report.html").read_text("utf-8")) == len(page)


def test_files_hold_the_same_rows(tmp_path):
    results = run(tmp_path, tables=["extremes"])
    record = json.loads((tmp_path / "results.json").read_text())
    lines = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert len(lines) == len(record["rows"]) == len(results.rows) == len(METHODS)
    for line, row in zip(lines, record["rows"], strict=True):
        assert float(line["rmse"]) == row["metrics"]["rmse"]
        assert (line["method"], line["data"]) == (row["method"], row["data"])
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"results.json", "results.csv", "report.html", "rows.jsonl", "fits"}


def test_metadata_says_how_to_repeat_the_run(tmp_path):
    about = run(tmp_path, methods=["column mean"], n_columns=30).metadata
    assert {"command", "seeds", "platform", "cpu_count", "duration_seconds"} <= set(about)
    assert about["data"][FIRST]["n_missing_held_out_cells"] == 735
    assert about["n_columns"] == 30
    assert about["settings"]["max_steps"] == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"preset": "fast"},
        {"methods": ["mode"]},
        {"tables": ["below"]},
        {"n_columns": 31},
        {"n_epochs": 0},
    ],
)
def test_a_mistake_is_named_before_any_work(tmp_path, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be .*; got"):
        STUDIES["breast"](output=tmp_path, **wrong)
    assert not list(tmp_path.iterdir())


def test_missing_extra_is_named_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"pip install 'notmiwae\[report\]'"):
        STUDIES["breast"](output=tmp_path)
    assert not list(tmp_path.iterdir())
