from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.distributions import Normal

from notmiwae import NotMIWAEImputer, directions
from notmiwae.encoders import ZeroFill
from notmiwae.ensembles import Course
from notmiwae.integration import Skewed, skewed, straightened
from notmiwae.limits import Limit
from notmiwae.mechanisms import MECHANISMS
from notmiwae.observations import Gaussian
from notmiwae.skewness import SkewedModel

SKEWNESS = (-1.5, -0.4, 0.0, 0.3, 2.0)
GRID = torch.linspace(-60, 60, 60_001, dtype=torch.double)


def test_what_is_removed_is_added():
    skewness = torch.tensor(SKEWNESS, dtype=torch.double)
    x = torch.linspace(-20, 20, 41, dtype=torch.double).unsqueeze(-1).expand(-1, len(SKEWNESS))
    assert torch.allclose(skewed(straightened(x, skewness)[0], skewness), x)


def test_no_skewness_changes_nothing():
    x = torch.randn(7, 1, dtype=torch.double)
    y, log_slope = straightened(x, torch.zeros(1))
    assert y.equal(x)
    assert log_slope.abs().max() < 1e-12


@pytest.mark.parametrize("amount", SKEWNESS)
def test_densities_integrate_to_one(amount):
    y, log_slope = straightened(GRID.unsqueeze(-1), torch.tensor([amount]))
    density = (Normal(0.4, 0.7).log_prob(y) + log_slope).exp().squeeze(-1)
    assert torch.trapezoid(density, GRID).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("amount", [-0.5, 0.8])
@pytest.mark.parametrize("mechanism", ["ignorable", "self-masking", "self-masking-spline"])
@pytest.mark.parametrize("scale", [0.1, 0.7])
def test_the_mean_is_that_of_x(amount, mechanism, scale):
    """Against a fine grid of p(y | z) p(s=0 | y)."""
    skewness, loc = (
        torch.tensor([amount]),
        torch.linspace(-1, 2, 7, dtype=torch.double).unsqueeze(-1),
    )
    known = MECHANISMS[mechanism](1).double()
    if mechanism != "ignorable":
        known.start_from(torch.tensor([[3.0], [-1.0]]))
    observation = Gaussian(1, lambda n: nn.Linear(1, n))
    x, mask = torch.zeros_like(loc), torch.zeros_like(loc)
    of = known.tilt(observation, Normal(loc, scale), x, mask)
    missing = 1.0 if mechanism == "ignorable" else known(GRID.unsqueeze(-1)).log_prob(x[:1]).exp().T
    density = Normal(loc, scale).log_prob(GRID).exp() * missing
    exact = (density @ skewed(GRID.unsqueeze(-1), skewness)) / density.sum(-1, keepdim=True)
    found = Skewed(of, skewness)
    assert torch.allclose(found.mean, exact, atol=0.05 * scale)
    torch.manual_seed(0)
    drawn = torch.stack([found.sample() for _ in range(1000)])
    assert torch.allclose(drawn.mean(0), exact, atol=0.15 * scale)


@pytest.mark.parametrize("integrate", ["auto", "sample"])
def test_all_that_can_be_seen_has_probability_one(integrate):
    """The density of an observed value, over all of them, and the probability of a hole."""
    torch.manual_seed(0)
    mechanism = MECHANISMS["self-masking"](1)
    mechanism.start_from(torch.tensor([[1.5], [-0.4]]))
    observation = Gaussian(1, lambda n: nn.Linear(1, n))
    model = SkewedModel(
        ZeroFill(1, 1), observation, mechanism, integrate=integrate, learns=torch.ones(1)
    )
    model.skew.weight.data.fill_(0.6)
    x = torch.linspace(-12, 25, 400).unsqueeze(-1)
    with torch.no_grad():
        seen = model(x, torch.ones_like(x), 4000).log_weights.exp().mean(0)
        hole = model(x[:1], torch.zeros(1, 1), 200_000).log_weights.exp().mean()
    assert (torch.trapezoid(seen, x[:, 0]) + hole).item() == pytest.approx(1, abs=0.02)
    assert 0.1 < hole < 0.9


def test_drawn_values_are_remembered_as_they_are():
    model = SkewedModel(
        ZeroFill(1, 1),
        Gaussian(1, lambda n: nn.Linear(1, n)),
        MECHANISMS["linear"](1),
        learns=torch.ones(1),
    )
    model.skew.weight.data.fill_(0.6)
    x, mask = torch.zeros(2, 1), torch.zeros(2, 1)
    sample = model(x, mask, 3)
    drawn = model.resumable(sample)
    assert drawn.equal(sample.missing.mean)
    assert model.complete(drawn, x, mask).equal(drawn)


def long_tailed(n_rows=1000):
    """A column with a long tail above, that misses its high values, and one that is complete."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=(n_rows, 1))
    y = 0.7 * common + 0.7 * rng.normal(size=(n_rows, 2))
    x = np.column_stack(
        [y[:, 0] * np.cosh(0.7) + np.sqrt(1 + y[:, 0] ** 2) * np.sinh(0.7), y[:, 1]]
    )
    holes = x.copy()
    holes[y[:, 0] > 0, 0] = np.nan
    return x, holes


@pytest.fixture(scope="module")
def fits():
    """Imputers of one model of such a table, that may skew columns and that may not.

    Edges are left flat.
    """
    _, holes = long_tailed()
    settings = {"max_steps": 600, "n_models": 1, "decoder": "linear+mlp", "random_state": 0}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("sharpen", "sharpen_all"):
            patch.setattr(directions, name, lambda model, start, *_: start)
        return {
            skew: NotMIWAEImputer("self-masking-known", skew=skew, **settings).fit(holes)
            for skew in (True, False)
        }


def test_a_long_tail_is_learned_from_the_other_half(fits):
    x, holes = long_tailed()
    missing = np.isnan(holes)
    errors = {
        skew: np.sqrt(np.mean((imputer.transform(holes) - x)[missing] ** 2))
        for skew, imputer in fits.items()
    }
    assert fits[True].model_.skew()[0] > 0.1
    assert errors[True] < 0.95 * errors[False]
    assert fits[True].score(holes) > fits[False].score(holes)


def test_complete_and_crowded_columns_are_not_skewed(fits):
    assert fits[True].model_.skew.learns.tolist() == [1, 0]
    _, holes = long_tailed(200)
    holes[:80, 0] = 0
    crowded = NotMIWAEImputer("self-masking", max_steps=3, n_models=1).fit(holes)
    assert not isinstance(crowded.model_, SkewedModel)


def test_a_mechanism_that_knows_a_number_sees_values_as_they_are():
    _, holes = long_tailed(300)
    limit = (np.nanmax(holes[:, 0]) - np.nanmean(holes[:, 0])) / np.nanstd(holes[:, 0])
    settings = {"max_steps": 20, "n_models": 1, "random_state": 0}
    imputer = NotMIWAEImputer(partial(Limit, limit=[limit, 99.0]), **settings).fit(holes)
    assert not isinstance(imputer.model_, SkewedModel)
    filled = imputer.transform(holes)[np.isnan(holes)]
    assert (filled > np.nanmax(holes[:, 0])).all()


def test_of_a_table_of_all_kinds_numbers_that_miss_for_unknown_reasons_are_skewed():
    _, holes = long_tailed(300)
    table = pd.DataFrame({"tail": holes[:, 0], "whole": holes[:, 1], "limited": holes[:, 1]})
    table.loc[table["limited"] > 1, "limited"] = np.nan
    table["label"] = np.where(holes[:, 1] > 0, "a", "b")
    table.loc[::5, "label"] = None
    imputer = NotMIWAEImputer(
        {"limited": "above:1", "*": "self-masking"}, max_steps=60, n_models=1, random_state=0
    ).fit(table)
    assert imputer.model_.skew.learns.tolist() == [1, 0, 0, 0]
    with torch.no_grad():
        imputer.model_.skew.weight.fill_(0.5)
    filled, draws = imputer.transform(table), imputer.sample(table, 200)
    missing = table["tail"].isna()
    drawn = np.stack([draw.loc[missing, "tail"] for draw in draws])
    away = filled.loc[missing, "tail"] - drawn.mean(0)
    assert away.abs().mean() < 0.2 * drawn.std(0).mean()
    assert (filled.loc[table["limited"].isna(), "limited"] >= 1).all()
    assert set(filled["label"]) == {"a", "b"}


def test_skewness_waits_until_the_mechanism_has_settled(monkeypatch):
    learn_on, before = Course.go_on, []

    def watched(course, models, members):
        before.extend(model.skew().tolist() for model in models)
        return learn_on(course, models, members)

    monkeypatch.setattr(Course, "go_on", watched)
    _, holes = long_tailed(200)
    model = NotMIWAEImputer("self-masking", max_steps=40, n_models=1).fit(holes).model_
    assert before == [[0, 0]]
    assert model.skew()[0] != 0


def test_what_is_told_of_the_mechanism_is_in_the_tables_units(fits):
    imputer = fits[True]
    line = imputer.mechanism_summary().loc[0]
    at = imputer.missing_probability(0, [line["threshold"]])
    assert at == pytest.approx(0.5, abs=1e-3)
    _, holes = long_tailed()
    assert line["threshold"] == pytest.approx(np.nanmax(holes[:, 0]), rel=0.15)


def test_draws_and_intervals_are_in_the_tables_units(fits):
    _, holes = long_tailed()
    imputer, missing = fits[True], np.isnan(holes)
    filled = imputer.transform(holes)[missing]
    draws = imputer.sample(holes, 200)[:, missing]
    assert np.abs(draws.mean(0) - filled).mean() < 0.2 * draws.std(0).mean()
    low, high = np.moveaxis(imputer.predict_interval(holes)[missing], -1, 0)
    assert ((low < filled) & (filled < high)).all()
