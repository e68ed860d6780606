import json

import numpy as np
import pandas as pd
import pytest

from notmiwae.experiments import mixed
from notmiwae.experiments.mixed import methods, tables
from notmiwae.experiments.mixed.methods import METHODS


def tiny(n_rows=80):
    rng = np.random.default_rng(0)
    z = rng.normal(size=n_rows)
    place = np.digitize(z + 0.2 * rng.normal(size=n_rows), [-0.5, 0.5])
    return pd.DataFrame(
        {
            "x": z + 0.3 * rng.normal(size=n_rows),
            "y": z + 0.3 * rng.normal(size=n_rows),
            "place": np.array(["low", "mid", "high"])[place],
            "side": np.where(z + 0.2 * rng.normal(size=n_rows) > 0, "left", "right"),
        }
    ).astype({"place": object, "side": object})


@pytest.fixture
def problem(monkeypatch):
    monkeypatch.setattr(tables, "TABLES", {"tiny": tiny})
    return mixed.make_problem("tiny", 0)


BASELINES = [name for name in METHODS if "notmiwae" not in name]


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_fills_all_holes_and_nothing_else(problem, name, monkeypatch):
    monkeypatch.setattr(methods, "N_TREES", 5)
    filled = METHODS[name](problem.holes, 0)
    assert not filled.isna().any(axis=None)
    seen = problem.holes.notna()
    assert filled[seen].equals(problem.holes[seen])
    for column in ("place", "side"):
        assert set(filled[column]) <= set(problem.truth[column])
    assert np.isfinite(list(mixed.scores(problem, filled).values())).all()


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "mode or mean"])
def test_what_hangs_together_is_used(problem, name):
    scores = mixed.scores(problem, METHODS[name](problem.holes, 0))
    plain = mixed.scores(problem, METHODS["mode or mean"](problem.holes, 0))
    assert scores["nrmse"] < 0.9 * plain["nrmse"]


def test_the_truth_scores_nothing(problem):
    assert mixed.scores(problem, problem.truth) == {"nrmse": 0, "error_rate": 0}


def test_values_go_missing_by_what_they_are(problem):
    for column in problem.holes:
        hidden = problem.holes[column].isna()
        if not hidden.any():
            continue
        if column in ("x", "y"):
            gone, kept = (problem.truth.loc[part, column].mean() for part in (hidden, ~hidden))
            assert abs(gone - kept) > 0.8
        else:
            shares = hidden.groupby(problem.truth[column]).mean()
            assert shares.max() - shares.min() > 0.3
    assert problem.holes.isna().any().sum() == 2


def test_a_method_that_is_best_everywhere_has_rank_one():
    rows = [
        mixed.Row(method, table, 0, mixed.SPLIT, {"nrmse": value, "error_rate": value}, 1.0)
        for table in ("a", "b")
        for method, value in {"good": 0.1, "bad": 0.3, "middling": 0.2}.items()
    ]
    results = mixed.MixedResults("mixed", "", rows, {})
    assert results.ranks() == {"good": 1, "bad": 3, "middling": 2}
    assert "1.00" in results.table()


def test_a_run_is_kept_and_written(monkeypatch, tmp_path):
    monkeypatch.setattr(tables, "TABLES", {"tiny": tiny})
    monkeypatch.setattr(mixed, "TABLES", {"tiny": tiny})
    chosen = ["mode or mean", "MICE"]
    monkeypatch.setattr(mixed, "side_by_side", lambda tasks, *_: [task.compute() for task in tasks])
    results = mixed.run(output=tmp_path, datasets=["tiny"], methods=chosen, n_seeds=2)
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["ranks"] == results.ranks()
    assert written["metadata"]["data"]["tiny"]["n_labels"] == 2
    assert len(written["rows"]) == 4


@pytest.mark.slow
def test_the_default_fills_a_tiny_table(problem):
    scores = mixed.scores(problem, METHODS["notmiwae, default"](problem.holes, 0))
    assert scores["nrmse"] < 1.5
