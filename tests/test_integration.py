from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import log_ndtr
from torch.distributions import Normal

from notmiwae.integration import Discretised, Drawn, ProbitTilted, Untilted
from notmiwae.mechanisms import (
    LINKS,
    MECHANISMS,
    FactorisedMechanism,
    Ignorable,
    SelfMasking,
)
from notmiwae.observations import OBSERVATIONS

CONTINUOUS = [name for name, family in OBSERVATIONS.items() if family.continuous]
FACTORISED = [
    name
    for name, family in MECHANISMS.items()
    if issubclass(family, FactorisedMechanism) and family is not Ignorable
]
PROBIT = [  # location, scale, slope, intercept; the threshold t goes down to -350
    (0.0, 1.0, 1.0, 0.0),
    (0.5, 0.3, -4.0, 1.0),
    (0.0, 1.0, 100.0, -100.0),
    (-2.0, 2.0, 0.001, 3.0),
    (0.0, 1.0, 100.0, -500.0),
    (0.0, 1.0, -20.0, -180.0),
    (0.0, 1.0, 20.0, -300.0),
    (0.0, 1.0, 50.0, -2000.0),
    (-5.0, 0.01, 100.0, 0.0),
]
LOGMISSING = {
    "probit": lambda score: log_ndtr(score),
    "logit": lambda score: -np.logaddexp(0, -score),
}


class Grid(NamedTuple):
    log_normaliser: float
    mean: float
    std: float
    cdf: object


def integrate(log_density, low, high):
    """Integrate exp(log_density) by brute force where it has its mass."""
    for _ in range(3):
        edges = np.linspace(low, high, 200_001)
        log_mass = log_density((edges[1:] + edges[:-1]) / 2)
        inside = np.flatnonzero(log_mass > log_mass.max() - 60)
        low, high = edges[inside[0]], edges[inside[-1] + 1]
    values = (edges[1:] + edges[:-1]) / 2
    mass = np.exp(log_mass - log_mass.max())
    total = mass.sum()
    mean = (mass * values).sum() / total
    std = np.sqrt((mass * (values - mean) ** 2).sum() / total)
    cdf = np.concatenate([[0], np.cumsum(mass) / total])
    log_total = log_mass.max() + np.log(total * (edges[1] - edges[0]))
    return Grid(log_total, mean, std, lambda x: np.interp(x, edges, cdf))


def probit_grid(loc, scale, slope, intercept):
    def log_density(x):
        return stats.norm.logpdf(x, loc, scale) + log_ndtr(slope * x + intercept)

    reach = scale * 45 + (50 * scale if scale > 0.1 else 8)
    return integrate(log_density, loc - reach, loc + reach)


def probit_tilted(loc, scale, slope, intercept, dtype=torch.float64, shape=()):
    loc, scale, slope, intercept = (
        torch.full(shape, value, dtype=dtype) for value in (loc, scale, slope, intercept)
    )
    return ProbitTilted(Normal(loc, scale), slope, intercept)


class ByQuadrature(SelfMasking):
    """Never in closed form."""

    closed_form = False


def pair(observe, name, link, slope, intercept, dtype=torch.float64):
    """An observation under self-masking: its quadrature, and brute force."""
    observation = observe(name, 1, [0.3, -0.4, 0.8]).to(dtype)
    distribution = observation(torch.zeros(1, 2, dtype=dtype))
    mechanism = ByQuadrature(1, link=link).to(dtype)
    torch.nn.init.constant_(mechanism.weight, slope)
    torch.nn.init.constant_(mechanism.intercept, intercept)

    def log_density(x):
        at = torch.from_numpy(x).to(torch.float64).unsqueeze(-1)
        values = distribution.log_prob(at.to(dtype)).detach().double().squeeze(-1).numpy()
        return values + LOGMISSING[link](slope * x + intercept)

    low, high = (float(getattr(distribution, end, bound)) for end, bound in ENDS.items())
    nothing = torch.zeros(1, 1, dtype=dtype)
    quadrature = mechanism.tilt(observation, distribution, nothing, nothing)
    return quadrature, lambda: integrate(log_density, low, high)


ENDS = {"low": -300.0, "high": 300.0}


@pytest.mark.parametrize("case", PROBIT, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
def test_the_closed_form_is_brute_force(case, dtype):
    grid, tilted = probit_grid(*case), probit_tilted(*case, dtype)
    tolerance = 1e-6 if dtype == torch.float64 else 1e-5
    log_normaliser = tilted.log_normaliser.item()
    assert log_normaliser == pytest.approx(grid.log_normaliser, rel=tolerance, abs=1e-6)
    tolerance = 1e-5 if dtype == torch.float64 else 0.05
    assert abs(tilted.mean.item() - grid.mean) < tolerance * grid.std + 1e-6


@pytest.mark.parametrize("case", PROBIT, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
def test_closed_form_draws_follow_brute_force(case, dtype):
    torch.manual_seed(0)
    grid = probit_grid(*case)
    draws = probit_tilted(*case, dtype, (4000,)).sample()
    assert draws.dtype == dtype
    assert stats.kstest(draws.numpy(), grid.cdf).pvalue > 1e-3


def test_closed_form_gradients_are_those_of_finite_differences():
    torch.manual_seed(0)
    inputs = [
        torch.randn(6, dtype=torch.float64, requires_grad=True),
        torch.rand(6, dtype=torch.float64).add(0.2).requires_grad_(),
        torch.randn(6, dtype=torch.float64).mul(3).requires_grad_(),
        torch.randn(6, dtype=torch.float64).mul(5).requires_grad_(),
    ]

    def both(loc, scale, slope, intercept):
        tilted = ProbitTilted(Normal(loc, scale), slope, intercept)
        return tilted.log_normaliser, tilted.mean

    assert torch.autograd.gradcheck(both, inputs)


@pytest.mark.parametrize("slope", [-1e4, -1.0, 0.0, 1e4])
@pytest.mark.parametrize("intercept", [-1e4, 0.0, 1e4])
@pytest.mark.parametrize("scale", [0.01, 1.0, 1e3])
def test_the_closed_form_stays_finite(slope, intercept, scale):
    leaves = [torch.tensor(value, requires_grad=True) for value in (0.5, scale, slope, intercept)]
    tilted = ProbitTilted(Normal(*leaves[:2]), *leaves[2:])
    for value in (tilted.log_normaliser, tilted.mean):
        assert torch.isfinite(value)
        for gradient in torch.autograd.grad(value, leaves, retain_graph=True):
            assert torch.isfinite(gradient)
    assert torch.isfinite(tilted.sample())


@pytest.mark.parametrize("slope", [0.0, 2.0])
def test_a_flat_or_certain_mechanism_tilts_nothing(slope):
    tilted = probit_tilted(0.4, 0.7, slope, 60.0 if slope else -1.3)
    torch.testing.assert_close(tilted.mean, torch.tensor(0.4, dtype=torch.float64))


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("parameters", [(0.0, 0.5), (1.0, 0.0), (-2.0, 1.0), (4.0, -4.0)], ids=str)
def test_quadrature_is_brute_force(observe, name, link, parameters):
    quadrature, brute_force = pair(observe, name, link, *parameters)
    grid = brute_force()
    assert quadrature.log_normaliser.item() == pytest.approx(grid.log_normaliser, abs=2e-3)
    assert quadrature.mean.item() == pytest.approx(grid.mean, abs=2e-3)


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("slope", [20.0, -20.0, 100.0, -100.0])
def test_quadrature_over_a_hard_threshold_is_near_brute_force(observe, name, link, slope):
    quadrature, brute_force = pair(observe, name, link, slope, -abs(slope))
    grid = brute_force()
    assert quadrature.log_normaliser.item() == pytest.approx(grid.log_normaliser, abs=0.35)
    assert abs(quadrature.mean.item() - grid.mean) < 0.5 * grid.std


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("parameters", [(0.0, 0.5), (-2.0, 1.0), (4.0, -4.0)], ids=str)
def test_quadrature_draws_follow_brute_force(observe, name, link, parameters):
    torch.manual_seed(0)
    quadrature, brute_force = pair(observe, name, link, *parameters)
    nodes, log_weights = (
        tensor.detach().unsqueeze(-1).expand(-1, 4000, 1)
        for tensor in (quadrature.part.nodes, quadrature.part.log_weights)
    )
    draws = Discretised(nodes, log_weights, torch.zeros_like(nodes), True).sample()
    assert draws.shape == (4000, 1)
    assert stats.kstest(draws.squeeze(-1).numpy(), brute_force().cdf).statistic < 0.04


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("slope", [-1e4, 0.0, 1e4])
@pytest.mark.parametrize("intercept", [-1e4, 0.0, 1e4])
@pytest.mark.parametrize("raw", [-100.0, 100.0])
def test_quadrature_stays_finite(observe, name, slope, intercept, raw):
    observation = observe(name, 2, [raw])
    mechanism = SelfMasking(2, link="logit")
    torch.nn.init.constant_(mechanism.weight, slope)
    torch.nn.init.constant_(mechanism.intercept, intercept)
    nothing = torch.zeros(1, 2)
    tilted = mechanism.tilt(observation, observation(nothing), nothing, nothing)
    leaves = [*observation.parameters(), *mechanism.parameters()]
    for value in (tilted.log_normaliser, tilted.mean):
        assert torch.isfinite(value).all()
        for gradient in torch.autograd.grad(value.sum(), leaves, retain_graph=True):
            assert torch.isfinite(gradient).all()
    assert torch.isfinite(tilted.sample()).all()


@pytest.mark.parametrize("name", OBSERVATIONS)
@pytest.mark.parametrize("mechanism", FACTORISED)
def test_gradients_of_every_pair_are_those_of_finite_differences(observe, steer, name, mechanism):
    torch.set_default_dtype(torch.float64)
    try:
        observation = observe(name, 2, [0.3, -0.4, 0.8])
        mechanism = steer(mechanism, 2)
    finally:
        torch.set_default_dtype(torch.float32)
    parameters = [*observation.parameters(), *mechanism.parameters()]

    def both(*_):
        nothing = torch.zeros(1, 2, dtype=torch.float64)
        tilted = mechanism.tilt(observation, observation(nothing), nothing, nothing)
        return tilted.log_normaliser, tilted.mean

    assert torch.autograd.gradcheck(both, parameters)


@pytest.mark.parametrize("name", OBSERVATIONS)
@pytest.mark.parametrize("mechanism", FACTORISED)
def test_every_pair_tilts_cell_by_cell(observe, steer, name, mechanism):
    observation, mechanism = observe(name, 3), steer(mechanism, 3)
    nothing = torch.zeros(6, 3)
    tilted = mechanism.tilt(observation, observation(torch.randn(7, 6, 2)), nothing, nothing)
    assert tilted.mean.shape == tilted.sample().shape == (7, 6, 3)
    assert torch.broadcast_shapes(tilted.log_normaliser.shape, (7, 6, 3)) == (7, 6, 3)
    assert (tilted.log_normaliser <= 1e-6).all()


@pytest.mark.parametrize("name", OBSERVATIONS)
@pytest.mark.parametrize("mechanism", FACTORISED)
def test_a_missing_cell_is_the_same_whatever_else_is_missing(observe, steer, name, mechanism):
    observation, mechanism = observe(name, 3), steer(mechanism, 3)
    distribution, nothing = observation(torch.randn(7, 6, 2)), torch.zeros(6, 3)
    mask = torch.bernoulli(torch.full((6, 3), 0.5), generator=torch.Generator().manual_seed(0))
    some, every = (mechanism.tilt(observation, distribution, nothing, m) for m in (mask, nothing))
    missing = (mask == 0).expand(7, 6, 3)
    assert 0 < missing.sum() < missing.numel()
    torch.testing.assert_close(some.mean[missing], every.mean[missing])
    normalisers = [cells.log_normaliser.expand(7, 6, 3)[missing] for cells in (some, every)]
    torch.testing.assert_close(*normalisers)


@pytest.mark.parametrize("mechanism", FACTORISED)
def test_binary_cells_are_enumerated(observe, steer, mechanism):
    torch.manual_seed(0)
    observation, mechanism = observe("bernoulli", 2, [0.3]), steer(mechanism, 2)
    nothing = torch.zeros(1, 2)
    tilted = mechanism.tilt(observation, observation(nothing), nothing, nothing)
    one = torch.sigmoid(torch.tensor(0.3))
    missing = 1 - mechanism(torch.tensor([[0.0, 0.0], [1.0, 1.0]])).mean
    expected = (1 - one) * missing[0] + one * missing[1]
    torch.testing.assert_close(tilted.log_normaliser.exp().squeeze(0), expected)
    torch.testing.assert_close(tilted.mean.squeeze(0), one * missing[1] / expected)
    draws = torch.stack([tilted.sample() for _ in range(4000)])
    assert ((draws == 0) | (draws == 1)).all()
    torch.testing.assert_close(draws.mean(0), tilted.mean.detach(), atol=0.03, rtol=0)


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_an_ignorable_mechanism_tilts_nothing(observe, name):
    observation = observe(name, 3)
    distribution = observation(torch.randn(4, 2))
    missing = Ignorable(3).tilt(observation, distribution, *torch.zeros(2, 4, 3))
    assert isinstance(missing, Untilted)
    assert missing.log_normaliser == 0
    assert torch.equal(missing.mean, distribution.mean)
    assert missing.sample().shape == (4, 3)


def test_untilted_draws_follow_the_observation():
    torch.manual_seed(0)
    draws = Untilted(Normal(torch.full((4000,), 2.0), 3.0), torch.zeros(())).sample()
    assert stats.kstest(draws.numpy(), stats.norm(2, 3).cdf).pvalue > 1e-3


def test_a_weighed_draw_stays_itself():
    values = torch.randn(5, 4, 3)
    drawn = Drawn(values)
    assert drawn.sample() is values
    assert drawn.mean is values
    assert drawn.log_normaliser == 0
