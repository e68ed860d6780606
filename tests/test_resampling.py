import numpy as np
import pytest
import torch

from notmiwae import MIWAEImputer, NotMIWAEImputer, pool, resampling
from notmiwae.ensembles import Course
from notmiwae.mechanisms import SelfMasking
from notmiwae.selection import CANDIDATES
from notmiwae.training import History

SMALL = {"hidden": (4,), "n_samples": 2, "max_steps": 5, "n_impute_samples": 20, "random_state": 0}


def table(n_rows=60):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n_rows, 1)) + 0.5 * rng.normal(size=(n_rows, 3))
    x[x[:, 0] > 0.8, 0] = np.nan
    return x


def test_a_split_sorts_every_row_into_one_of_two():
    train, held_out = resampling.split(100, 0.3, seed=1)
    assert sorted([*train.tolist(), *held_out.tolist()]) == list(range(100))
    assert 15 < len(held_out) < 45


@pytest.mark.parametrize("share", [0.0, 0.999999])
def test_a_split_never_takes_all_rows_from_training(share):
    train, held_out = resampling.split(20, share, seed=0)
    assert (len(train), len(held_out)) == (20, 0)


def test_a_bootstrap_sample_has_as_many_rows_and_holds_out_others():
    train, held_out = resampling.bootstrap(1000, 0.2, seed=1)
    assert len(train) == 1000
    assert len(train.unique()) == pytest.approx(1000 * (1 - 1 / np.e), abs=50)
    assert len(held_out.unique()) == len(held_out) == 200
    assert not torch.isin(held_out, train).any()


def test_a_bootstrap_holds_out_no_more_rows_than_it_left_out():
    train, held_out = resampling.bootstrap(50, 0.9, seed=1)
    assert len(held_out) == 50 - len(train.unique())


def test_how_often_a_row_is_drawn_is_as_of_n_draws_from_n():
    n_rows, n_times = 20, 400
    counts = torch.stack(
        [resampling.bootstrap(n_rows, 0, s).train.bincount(minlength=n_rows) for s in range(400)]
    ).double()
    spread = n_rows * (1 / n_rows) * (1 - 1 / n_rows)  # of a binomial count
    assert counts.mean().item() == 1
    assert counts.var(0).mean().item() == pytest.approx(spread, rel=4 / n_times**0.5)


def rows_seen(monkeypatch, mechanism="self-masking", **settings):
    """Fit, and return for each model what it was trained on and what was held out."""
    seen = []

    def fake_fit(models, *, x, rows, validation, max_steps, **others):
        if max_steps == SMALL["max_steps"]:  # not while it waits, nor while directions are tried
            seen.extend((x[index], pair[0]) for index, pair in zip(rows, validation, strict=True))
        return [History([1], [0.0], [-1.0 - len(seen) - i], 1) for i in range(len(models))]

    def go_on(course, models, members):
        return [History([1], [0.0], [0.0], 1) for _ in models]

    monkeypatch.setattr("notmiwae.ensembles.fit_together", fake_fit)
    monkeypatch.setattr("notmiwae.ensembles.Course.go_on", go_on)
    fitted = NotMIWAEImputer(mechanism, **{**SMALL, **settings}).fit(table())
    return fitted, seen


def test_every_model_has_a_bootstrap_sample_of_its_own(monkeypatch):
    _, seen = rows_seen(monkeypatch, n_models=3, bootstrap=True)
    assert all(len(train) == 60 and len(held_out) == 12 for train, held_out in seen)
    assert len({tuple(train[:, 1].tolist()) for train, _ in seen}) == 3
    for train, held_out in seen:
        assert not set(held_out[:, 1].tolist()) & set(train[:, 1].tolist())


def test_without_bootstrap_all_models_see_the_same_rows(monkeypatch):
    _, seen = rows_seen(monkeypatch, n_models=3)
    assert len({tuple(train[:, 1].tolist()) for train, _ in seen}) == 1


def test_no_bootstrap_model_is_left_out_for_the_rows_that_it_was_judged_by(monkeypatch):
    judged = []

    def watched(method):
        def found(course, *given):
            result = method(course, *given)
            judged.extend(history.held_out_bound for history in result.histories)
            return result

        return found

    for name in ("explore", "train"):
        monkeypatch.setattr(Course, name, watched(getattr(Course, name)))
    fitted, _ = rows_seen(monkeypatch, n_models=3, bootstrap=True)
    assert judged == [-2, -4, -5]
    assert len(fitted.models_) == 3
    judged_alike, _ = rows_seen(monkeypatch, n_models=3)
    assert len(judged_alike.models_) == 1


def test_the_first_model_chooses_the_mechanism_and_the_others_follow(monkeypatch):
    fitted, seen = rows_seen(monkeypatch, "auto", n_models=5, bootstrap=True)
    assert len(seen) == len(CANDIDATES) + 4
    assert len(fitted.models_) == 5
    assert len({tuple(train[:, 1].tolist()) for train, _ in seen}) == 5


class Branching(SelfMasking):
    """Looks at a value, which a stack of models cannot."""

    def shape(self, x, columns=slice(None)):
        assert x.isfinite().all().item()
        return super().shape(x, columns)


def test_models_that_cannot_be_stacked_are_trained_one_by_one():
    fitted = NotMIWAEImputer(Branching, n_models=2, bootstrap=True, **SMALL).fit(table())
    assert len(fitted.models_) == 2


@pytest.mark.parametrize("kind", [NotMIWAEImputer, MIWAEImputer])
def test_bootstrap_ensembles_draw_save_and_load(kind, tmp_path):
    x = table()
    fitted = kind(n_models=2, bootstrap=True, **SMALL).fit(x)
    draws = fitted.sample(x, 4)
    assert np.isfinite(draws).all()
    fitted.save(tmp_path / "model")
    again = kind.load(tmp_path / "model")
    assert again.bootstrap
    np.testing.assert_array_equal(again.sample(x, 4), draws)


@pytest.mark.slow
def test_bootstrap_intervals_of_a_mean_are_as_wide_as_large_sample_theory_has_them():
    # y = x + e, half of y deleted at random. By regression on complete cases the mean of y has the
    # variance of y's mean in the complete table plus var(e) (1/n_observed - 1/n).
    rng = np.random.default_rng(0)
    n = 600
    x = rng.normal(size=n)
    y = x + rng.normal(size=n)
    holes = rng.random(n) < 0.5
    table = np.column_stack([x, np.where(holes, np.nan, y)])
    imputer = MIWAEImputer(
        decoder="linear", n_models=20, bootstrap=True, max_steps=300, random_state=0
    )
    draws = imputer.fit(table).sample(table, 20)
    mean = pool(draws[..., 1].mean(1), draws[..., 1].var(1) / n).loc[0]
    n_observed = (~holes).sum()
    expected = np.sqrt(2 / n + 1 / n_observed - 1 / n)
    assert mean["std_error"] == pytest.approx(expected, rel=0.2)
    share = 1 - (2 / n) / expected**2
    assert mean["fmi"] == pytest.approx(share, abs=0.15)
