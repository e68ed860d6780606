import json

import numpy as np
import pandas as pd
import pytest

from notmiwae.experiments import defaults, development
from notmiwae.experiments.defaults import Preset, judged
from notmiwae.experiments.development import DELETIONS, make_problem
from notmiwae.experiments.results import Row
from notmiwae.selection import CANDIDATES


@pytest.fixture(autouse=True)
def _tiny_tables(monkeypatch):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(60, 1))
    table = pd.DataFrame(z + rng.normal(size=(60, 5)), columns=list("abcde"))
    table["code"] = rng.integers(0, 3, 60)  # too few values to be modelled
    table["name"] = "text"
    monkeypatch.setattr(development, "TABLES", {"tiny": lambda: table})


def test_tables_hold_standardised_columns_of_many_values():
    x = development.load("tiny")
    assert x.shape == (60, 5)
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(x.std(0), 1)


@pytest.mark.parametrize("deletion", DELETIONS)
def test_only_the_first_half_of_the_columns_loses_values(deletion):
    problem = make_problem("tiny", deletion, 0)
    holes = np.isnan(problem.holes)
    assert holes[:, :2].any(0).all()
    assert not holes[:, 2:].any()
    np.testing.assert_array_equal(problem.holes[~holes], problem.truth[~holes])


@pytest.mark.parametrize("deletion", DELETIONS)
def test_a_seed_makes_a_problem(deletion):
    first, again, other = (make_problem("tiny", deletion, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.holes, again.holes)
    assert not np.array_equal(first.holes, other.holes, equal_nan=True)


def test_deletions_do_as_they_say():
    rng = np.random.default_rng(1)
    own = rng.normal(size=(4000, 2))
    others = rng.normal(size=(4000, 3))
    where = {name: delete(own, others, rng) for name, delete in DELETIONS.items()}
    assert (own[where["above the mean"]] > 0).all()
    for column, deleted in zip(own.T, where["either side of the mean"].T, strict=True):
        assert len(set(np.sign(column[deleted]))) == 1
    assert where["extremes"].mean() == pytest.approx(0.5, abs=0.01)
    assert np.abs(own[where["extremes"]]).min() > np.abs(own[where["middle"]]).max()
    shares = [where["gradually"][side].mean() for side in (own < -1, np.abs(own) < 0.2, own > 1)]
    assert shares == pytest.approx([0.05, 0.5, 0.95], abs=0.05)
    # At random: it depends on the other columns, and given these not on the value itself.
    assert abs(np.corrcoef(own[:, 0], where["at random"][:, 0])[0, 1]) < 0.05
    assert max(abs(np.corrcoef(x, where["at random"][:, 0])[0, 1]) for x in others.T) > 0.1


def test_choices_go_by_the_bound_and_not_by_the_error():
    bounds = {
        "at-random": -5.00,
        "self-masking": -4.965,
        "self-masking, in context": -4.99,
        "self-masking-spline": -4.91,
    }
    fills = {name: np.array([float(number)]) for number, name in enumerate(bounds)}
    errors = judged(bounds, fills, 1, error=lambda filled: filled[0])
    assert errors["choice: margins 0.01 and 0.04, alone"] == 3
    assert errors["choice: margins 0.01 and 0.08, alone"] == 1
    assert errors["choice: margins 0.04 and 0.04, alone"] == 3
    assert errors["choice: margins 0.04 and 0.08, alone"] == 0
    assert errors["choice: margins 0.01 and 0.08, within 0.03"] == np.mean([1, 2])
    assert errors["choice: margins 0.01 and 0.04, within 0.06"] == 3


def test_the_study_writes_candidates_and_choices(monkeypatch, tmp_path):
    quick = {"max_steps": 3, "n_impute_samples": 5, "hidden": (4,)}
    monkeypatch.setitem(defaults.PRESETS, "quick", Preset(1, ("tiny",), quick))
    results = defaults.run("quick", tmp_path, n_jobs=1, methods=["column mean", "auto"])
    means = results.geometric_means()
    assert set(means["column mean"]) == set(DELETIONS)
    assert {f"{name}, alone" for name in CANDIDATES} < set(means)
    assert {"auto", "margins 0.01 and 0.08, within 0.03"} < set(means)
    assert json.loads((tmp_path / "results.json").read_text())["geometric_means"] == means
    assert results.table().count("\n") == len(means) + 3
    again = defaults.run("quick", tmp_path, n_jobs=1, methods=["column mean", "auto"])
    assert again.rows == results.rows  # from the file, times included


def test_geometric_means_are_over_the_tables():
    rows = [
        Row("a", table, 0, "middle", {"rmse": error}, 1.0) for table, error in (("t", 1), ("u", 4))
    ]
    assert defaults.DefaultsResults("d", "t", rows, {}).geometric_means() == {"a": {"middle": 2}}
