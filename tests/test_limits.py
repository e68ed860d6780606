import pytest
import torch
from scipy import stats
from torch.distributions import Normal

from notmiwae.limits import Limit
from notmiwae.observations import OBSERVATIONS, TruncatedNormalDistribution


def tilt(distribution, limit, sign):
    mechanism = Limit(1, limit=limit, sign=sign)
    return mechanism.tilt(None, distribution, *torch.zeros(2, 1, 1))


@pytest.mark.parametrize("loc", [-3.0, 0.0, 4.0])
@pytest.mark.parametrize("limit", [-1.0, 0.5])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_gaussian_tail_is_scipys(loc, limit, sign):
    torch.manual_seed(0)
    cells = tilt(Normal(torch.full((4000, 1), loc), torch.tensor([0.7])), limit, sign)
    low, high = ((limit - loc) / 0.7, torch.inf) if sign > 0 else (-torch.inf, (limit - loc) / 0.7)
    expected = stats.truncnorm(low, high, loc, 0.7)
    log_mass = stats.norm(loc, 0.7).logsf(limit) if sign > 0 else stats.norm(loc, 0.7).logcdf(limit)
    assert cells.log_normaliser[0].item() == pytest.approx(log_mass, abs=1e-3)
    assert cells.mean[0].item() == pytest.approx(expected.mean(), abs=3e-3)
    draws = cells.sample()
    assert ((draws - limit) * sign >= 0).all()
    assert stats.kstest(draws.squeeze().numpy(), expected.cdf).pvalue > 1e-3


def test_a_tail_within_bounds_is_a_share_of_what_is_within_them():
    loc, scale = torch.tensor([[0.2]]), torch.tensor([1.1])
    whole = TruncatedNormalDistribution(loc, scale, torch.tensor([-1.0]), torch.tensor([2.0]))
    norm = stats.norm(0.2, 1.1)
    share = (norm.cdf(2) - norm.cdf(1)) / (norm.cdf(2) - norm.cdf(-1))
    cells = tilt(whole, 1.0, 1.0)
    assert cells.log_normaliser.exp().item() == pytest.approx(share, abs=1e-4)
    assert 1 < cells.mean.item() < 2


def test_counts_beyond_a_limit_are_summed_exactly(observe):
    observation = observe("count", 1, [0.4])
    distribution = observation(torch.zeros(1, 2))
    cells = Limit(1, limit=2.0, sign=-1.0).tilt(observation, distribution, *torch.zeros(2, 1, 1))
    below = sum(distribution.log_prob(torch.tensor([[float(k)]])).exp().item() for k in (0, 1))
    assert cells.log_normaliser.exp().item() == pytest.approx(below, rel=1e-5)
    assert 0 < cells.mean.item() < 1


def test_what_is_beyond_goes_missing_and_nothing_else():
    mechanism = Limit(2, limit=[0.5, -0.5], sign=[1.0, -1.0])
    x = torch.tensor([[0.4, -0.4], [0.6, -0.6], [0.5, -0.5]])
    assert mechanism.delete(x).tolist() == [[1, 1], [0, 0], [1, 1]]
    assert mechanism(x).log_prob(torch.tensor([[1.0, 1], [0, 0], [1, 1]])).abs().max() == 0
    assert (mechanism(x).log_prob(torch.zeros(3, 2))[[0, 2]] < -1e3).all()


@pytest.mark.parametrize("name", [n for n in OBSERVATIONS if not OBSERVATIONS[n].continuous])
def test_discrete_draws_stay_beyond(observe, name):
    observation = observe(name, 1)
    distribution = observation(torch.randn(300, 1, 2))
    cells = Limit(1, limit=0.5, sign=1.0).tilt(observation, distribution, *torch.zeros(2, 1, 1))
    assert (cells.sample() > 0.5).all()


@pytest.mark.parametrize("loc", [-300.0, 300.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_far_from_the_limit_everything_stays_finite(loc, sign):
    leaf = torch.tensor([[loc]], requires_grad=True)
    cells = tilt(Normal(leaf, torch.tensor([1.0])), 0.0, sign)
    for value in (cells.log_normaliser, cells.mean):
        assert torch.isfinite(value).all()
        assert torch.isfinite(torch.autograd.grad(value.sum(), leaf, retain_graph=True)[0]).all()
