from types import SimpleNamespace
from unittest.mock import ANY

import numpy as np
import pytest
import torch
from torch import nn

from notmiwae import NotMIWAEImputer, rehearsal
from notmiwae.cli import words
from notmiwae.directions import lines
from notmiwae.ensembles import Course
from notmiwae.rehearsal import Rehearsal, best_share, outermost, rehearse
from notmiwae.report.imputation import wording

SETTINGS = {"max_steps": 300, "n_models": 1, "n_latent": 1, "hidden": (16,), "random_state": 0}


def curved(n_rows=700):
    """The first column is a cubic function of the others."""
    rng = np.random.default_rng(0)
    z = rng.uniform(-1.5, 1.5, size=(n_rows, 1))
    x = np.hstack([z**3, z, z]) + 0.05 * rng.normal(size=(n_rows, 3))
    return np.where((x > 0.5) & (np.arange(3) == 0), np.nan, x)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_the_outermost_of_what_is_seen_is_hidden(side):
    values = torch.arange(20.0).reshape(10, 2) * side
    mask = torch.ones(10, 2)
    mask[-2:] = 0.0
    hidden = outermost(values * mask, mask, side * torch.tensor([3.0, 0.1]), [0], share=0.5)
    assert hidden[:, 0].nonzero().squeeze(-1).tolist() == [4, 5, 6, 7]
    assert not hidden[:, 1].any()


def test_nothing_is_hidden_beyond_a_crowd():
    values = torch.tensor([0.0, 1.0, 1.0, 1.0]).unsqueeze(-1)
    assert not outermost(values, torch.ones(4, 1), torch.ones(1), [0]).any()


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_best_average_of_two_is_found(share):
    generator = torch.Generator().manual_seed(0)
    best, apart = torch.randn(2, 50, generator=generator)
    apart -= best * (best @ apart) / (best @ best)  # what the best misses, no share makes up for
    miss, other = best - share * apart, best + (1 - share) * apart
    assert best_share(miss, other) == pytest.approx(share, abs=1e-6)
    assert best_share(other, miss) == pytest.approx(1 - share, abs=1e-6)


def test_a_share_is_cut_off_and_none_of_the_same_is_needed():
    miss = torch.tensor([1.0, -1.0])
    assert best_share(miss, 2 * miss) == 0.0
    assert best_share(2 * miss, miss) == 1.0
    assert best_share(miss, miss) == 0.0


@pytest.fixture(scope="module")
def fitted():
    """An imputer of a curved table, and what it asked of `rehearse` and was answered."""
    asked = []

    def watched(*arguments):
        asked.append((*arguments, rehearse(*arguments)))
        return asked[-1][-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("notmiwae.latent_imputer.rehearse", watched)
        imputer = NotMIWAEImputer("self-masking", **SETTINGS).fit(curved())
    return imputer, asked


def test_a_curve_is_foreseen_by_a_curve(fitted):
    imputer, [(course, linear, model, answer)] = fitted
    assert imputer.rehearsal_ is answer
    assert answer.error < 0.7 * answer.linear_error
    assert not answer.calls_for_linear
    assert imputer.mechanisms_ == ["self-masking"]
    other_way_round = rehearse(linear, course, model)
    assert other_way_round == Rehearsal(answer.linear_error, answer.error, ANY)
    assert other_way_round.calls_for_linear


def test_what_is_hidden_has_no_part_in_the_training(fitted, monkeypatch):
    _, [(course, linear, model, answer)] = fitted
    hidden = outermost(course.values, course.mask, lines(model)[0], course.turnable)
    assert hidden.sum() == pytest.approx(rehearsal.SHARE * course.mask[:, 0].sum(), abs=2)
    trained = []
    train = Course.train

    def watched(self, members, start):
        trained.append(self)
        return train(self, members, start)

    monkeypatch.setattr(Course, "train", watched)
    assert rehearse(course, linear, model) == answer
    assert len(trained) == 2
    for each in trained:
        assert each.mask.equal(course.mask * ~hidden)
        assert not each.values[each.mask == 0].any()


@pytest.mark.parametrize("share", [0.4, 0.6])
def test_as_many_linear_models_are_averaged_if_called_for(tmp_path, monkeypatch, share):
    found = Rehearsal(0.3, 0.2, share)
    monkeypatch.setattr("notmiwae.latent_imputer.rehearse", lambda *_: found)
    imputer = NotMIWAEImputer("self-masking", **{**SETTINGS, "n_models": 2, "max_steps": 30})
    x = curved()
    filled = imputer.fit_transform(x)
    usual, linear = "self-masking", "self-masking, linear decoder"
    assert imputer.mechanisms_ == [usual, usual] + [linear, linear] * (share > 0.5)
    is_linear = [isinstance(model.observation.decoder, nn.Linear) for model in imputer.models_]
    assert is_linear == [name == linear for name in imputer.mechanisms_]
    assert str(found).endswith("both are averaged" if share > 0.5 else "not needed")
    assert words.learned(imputer)[1:] == [f"decoder: {found}"]
    said = wording.chosen(SimpleNamespace(imputer=imputer))
    assert said.endswith(f"Of its decoder: {found}.")
    assert "about as well" not in said  # no other mechanism was compared
    imputer.save(tmp_path)
    loaded = NotMIWAEImputer.load(tmp_path)
    assert loaded.rehearsal_ == found
    np.testing.assert_array_equal(loaded.transform(x), filled)
    for each in (imputer, loaded):
        last = each.under(imputer.mechanisms_[-1])
        assert last.rehearsal_ is None
        assert isinstance(last.model_.observation.decoder, nn.Linear) == (share > 0.5)


@pytest.mark.parametrize(
    ("mechanism", "settings", "n_rows"),
    [
        ("at-random", {}, 700),
        ("self-masking-spline", {}, 700),
        ("self-masking", {"decoder": "linear+mlp"}, 700),
        ("self-masking", {"bootstrap": True}, 700),
        ("self-masking", {}, rehearsal.FEWEST_ROWS - 1),
    ],
)
def test_nothing_is_rehearsed_without_need(monkeypatch, mechanism, settings, n_rows):
    monkeypatch.setattr(rehearsal, "_misses", pytest.fail)
    imputer = NotMIWAEImputer(mechanism, **{**SETTINGS, "max_steps": 10, **settings})
    assert imputer.fit(curved(n_rows)).rehearsal_ is None


def test_zeros_and_ones_have_no_edge(monkeypatch):
    monkeypatch.setattr(rehearsal, "_misses", pytest.fail)
    x = np.where(np.isnan(curved()), np.nan, curved() > 0)
    imputer = NotMIWAEImputer(
        "self-masking", observation="bernoulli", **{**SETTINGS, "max_steps": 10}
    )
    assert imputer.fit(x).rehearsal_ is None


def test_a_rehearsal_that_diverges_costs_no_fit(monkeypatch):
    def diverge(*_):
        raise FloatingPointError

    monkeypatch.setattr(rehearsal, "_misses", diverge)
    imputer = NotMIWAEImputer("self-masking", **{**SETTINGS, "max_steps": 10}).fit(curved())
    assert imputer.rehearsal_ is None
    assert imputer.mechanisms_ == ["self-masking"]


def test_an_interrupted_rehearsal_goes_on(tmp_path, fitted):
    imputer = NotMIWAEImputer("self-masking", checkpoint=tmp_path, **SETTINGS)
    first = imputer.fit(curved()).rehearsal_
    done = {path.name for path in tmp_path.iterdir()}
    assert {name for name in done if "rehearsed" in name}
    assert imputer.fit(curved()).rehearsal_ == first == fitted[0].rehearsal_
    assert {path.name for path in tmp_path.iterdir()} == done


def test_what_lies_beyond_a_crowd_is_not_rehearsed(monkeypatch):
    monkeypatch.setattr(rehearsal, "_misses", pytest.fail)
    x = curved()
    x[:, 1] = np.where(x[:, 1] > 1, np.nan, x[:, 1].clip(min=0))
    imputer = NotMIWAEImputer("self-masking", **{**SETTINGS, "max_steps": 10})
    assert imputer.fit(x).rehearsal_ is None
