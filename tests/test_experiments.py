from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning

from notmiwae.experiments.baselines import BASELINES, fit_quietly
from notmiwae.experiments.results import Published, Results, Row, command, mean_sd, spread


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
    published = {"d": {"a": Published(9.0, "*", "somewhere")}}
    header, _, first, second = Results("s", "t", rows, {}, published).table().splitlines()[2:6]
    assert len(header) == len(first) == len(second)
    assert first.index("1.250 ± 0.354") == second.index("0.250")


@pytest.mark.parametrize("program", ["/somewhere/bin/notmiwae", "/elsewhere/notmiwae/__main__.py"])
def test_the_command_is_what_one_would_type(program):
    line = command([program, "reproduce", "breast", "-o", "/some/folder", "--datasets", "a b"])
    assert line == "notmiwae reproduce breast --datasets 'a b'"
