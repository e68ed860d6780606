import numpy as np
import pytest
import torch
from scipy.stats import truncnorm
from torch import nn

from notmiwae.observations import (
    OBSERVATIONS,
    Bernoulli,
    LocationScale,
    TruncatedNormal,
    TruncatedNormalDistribution,
    normal_scores,
)

CONTINUOUS = [name for name, family in OBSERVATIONS.items() if family.continuous]
SCALED = [name for name, family in OBSERVATIONS.items() if issubclass(family, LocationScale)]
RAW = [0.3, -0.4, 0.8]
INF = float("inf")
TRUNCATED = [
    (0, 1, -1, 2),
    (5, 1, -1, 2),
    (-5, 1, -1, 2),
    (30, 1, -1, 2),
    (-30, 1, -1, 2),
    (60, 1, -1, 2),
    (0, 0.1, -1, 2),
    (0, 100, -1, 2),
    (0, 1, -INF, 1),
    (0, 1, 0, INF),
    (-9, 1, 0, INF),
    (-30, 1, 0, INF),
    (0, 1, -INF, INF),
]


def likelihood(observe, name, dtype=torch.float64):
    """p(x | z) of one column, and the observation that it comes from."""
    observation = observe(name, 1, RAW).to(dtype)
    return observation(torch.zeros(1, 2, dtype=dtype)), observation


def fine_grid(distribution):
    """Values, and p(x) dx, over the whole support."""
    low, high = (float(getattr(distribution, end, INF)) for end in ("low", "high"))
    low, high = (-300.0 if low == INF else low), (300.0 if high == INF else high)
    edges = torch.linspace(low, high, 2_000_001, dtype=torch.float64)
    values = (edges[1:] + edges[:-1]) / 2
    density = distribution.log_prob(values.unsqueeze(-1)).squeeze(-1).exp()
    return values, density * (edges[1] - edges[0])


def truncated(loc, scale, low, high, dtype=torch.float64):
    """The distribution, its leaves, and scipy's."""
    leaves = [torch.tensor([float(v)], dtype=dtype, requires_grad=True) for v in (loc, scale)]
    ends = [torch.tensor([float(v)], dtype=dtype) for v in (low, high)]
    ours = TruncatedNormalDistribution(*leaves, *ends)
    return ours, leaves, truncnorm((low - loc) / scale, (high - loc) / scale, loc, scale)


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_there_is_one_univariate_distribution_per_column(observe, name):
    distribution = observe(name, 5)(torch.randn(7, 6, 2))
    assert distribution.batch_shape == (7, 6, 5)
    assert distribution.event_shape == ()
    assert distribution.log_prob(torch.ones(6, 5)).shape == (7, 6, 5)
    assert distribution.mean.shape == (7, 6, 5)
    assert distribution.sample().shape == (7, 6, 5)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_a_density_integrates_to_one(observe, name):
    _, mass = fine_grid(likelihood(observe, name)[0])
    assert mass.sum().item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", sorted(OBSERVATIONS.keys() - set(CONTINUOUS)))
def test_discrete_probabilities_sum_to_one(observe, name):
    distribution, observation = likelihood(observe, name)
    values, log_weights = observation.nodes(distribution)
    torch.testing.assert_close(distribution.log_prob(values), log_weights)
    assert log_weights.exp().sum().item() == pytest.approx(1)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_the_mean_is_the_mean_of_the_density(observe, name):
    distribution, _ = likelihood(observe, name)
    values, mass = fine_grid(distribution)
    assert distribution.mean.item() == pytest.approx((values * mass).sum().item(), abs=1e-4)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_draws_follow_the_density_with_a_gradient(observe, name):
    torch.manual_seed(0)
    distribution, _ = likelihood(observe, name)
    draws = distribution.rsample((40_000,))
    values, mass = fine_grid(distribution)
    levels = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95], dtype=torch.float64)
    at = draws.detach().quantile(levels)
    cdf = mass.cumsum(0)[torch.searchsorted(values, at).clamp_max(len(values) - 1)]
    torch.testing.assert_close(cdf, levels, atol=0.01, rtol=0)
    assert draws.requires_grad


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_node_weights_sum_to_one_and_nodes_ascend(observe, name):
    observation = observe(name, 3)
    values, log_weights = observation.nodes(observation(torch.randn(4, 2)))
    assert values.shape[1:] == (4, 3)
    torch.testing.assert_close(log_weights.logsumexp(0).expand(4, 3), torch.zeros(4, 3))
    assert (values.diff(dim=0) >= 0).all()


@pytest.mark.parametrize("name", CONTINUOUS)
def test_nodes_reproduce_mean_and_variance(observe, name):
    distribution, observation = likelihood(observe, name)
    nodes, log_weights = observation.nodes(distribution)
    values, mass = fine_grid(distribution)
    mean = (values * mass).sum().item()
    variance = ((values - mean).square() * mass).sum().item()
    assert (log_weights.exp() * nodes).sum().item() == pytest.approx(mean, abs=1e-4)
    spread = (log_weights.exp() * (nodes - mean).square()).sum().item()
    assert spread == pytest.approx(variance, rel=0.01)


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize(
    "function",
    [torch.cos, torch.tanh, lambda x: torch.sigmoid(2 * x - 1), lambda x: torch.exp(-x * x)],
    ids=["cos", "tanh", "logistic", "bump"],
)
def test_nodes_reproduce_expectations_of_smooth_functions(observe, name, function):
    distribution, observation = likelihood(observe, name)
    nodes, log_weights = observation.nodes(distribution)
    values, mass = fine_grid(distribution)
    expected = (function(values) * mass).sum().item()
    assert (log_weights.exp() * function(nodes)).sum().item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_nodes_carry_the_gradient_of_an_expectation(observe, name):
    """By finite differences of the same expectation on the fine grid."""
    distribution, observation = likelihood(observe, name)
    nodes, log_weights = observation.nodes(distribution)
    parameters = list(observation.parameters())
    loss = (log_weights.exp() * torch.tanh(nodes)).sum()
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)

    def expectation():
        values, mass = fine_grid(observation(torch.zeros(1, 2, dtype=torch.float64)))
        return (mass * torch.tanh(values)).sum().item()

    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            for index in np.ndindex(*parameter.shape):
                parameter[index] += 1e-4
                above = expectation()
                parameter[index] -= 2e-4
                below = expectation()
                parameter[index] += 1e-4
                assert gradient[index].item() == pytest.approx((above - below) / 2e-4, abs=1e-4)


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("scale", ["column", "network", "shared"])
def test_no_scale_is_below_the_floor(observe, name, scale):
    observation = observe(name, 3, [-1e3], scale=scale, scale_floor=0.07)
    if observation.spread is not None:
        nn.init.constant_(observation.spread, -1e3)
    found = observation(torch.zeros(4, 2)).scale
    torch.testing.assert_close(found, torch.full((4, 3), 0.07))


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("scale", ["column", "network", "shared"])
def test_the_scale_depends_on_what_its_name_says(observe, name, scale):
    torch.manual_seed(0)
    observation = observe(name, 3, scale=scale)
    if observation.spread is not None:
        nn.init.normal_(observation.spread)
    found = observation(torch.randn(10, 2)).scale.expand(10, 3)
    assert torch.allclose(found, found[:1]) == (scale != "network")
    assert torch.allclose(found, found[:, :1]) == (scale == "shared")


@pytest.mark.parametrize("name", SCALED)
def test_an_unknown_scale_is_answered_with_the_known_ones(observe, name):
    with pytest.raises(ValueError, match="scale must be one of 'column', 'network', 'shared'"):
        observe(name, 3, scale="row")


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("floor", [0, -1, "x", float("nan")])
def test_a_floor_must_be_positive(observe, name, floor):
    with pytest.raises(ValueError, match="scale_floor must be a number above 0"):
        observe(name, 3, scale_floor=floor)


def test_student_t_has_more_than_three_degrees_of_freedom(observe):
    for raw in (-50.0, 0.0, 50.0):
        assert (observe("student-t", 2, [raw], scale="network")(torch.zeros(1, 2)).df >= 3).all()


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("value", [-1e4, 0.0, 1e4])
@pytest.mark.parametrize("raw", [-100.0, 0.0, 100.0])
def test_extreme_values_and_parameters_have_finite_densities_and_gradients(
    observe, name, value, raw
):
    observation = observe(name, 2, [raw])
    distribution = observation(torch.zeros(1, 2))
    log_density = distribution.log_prob(torch.full((1, 2), value)).sum()
    gradients = torch.autograd.grad(log_density, list(observation.parameters()))
    assert torch.isfinite(log_density)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("case", TRUNCATED, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
def test_the_truncated_normal_is_scipys(case, dtype):
    ours, _, theirs = truncated(*case, dtype)
    levels = np.linspace(0.01, 0.99, 9)
    at = torch.tensor(theirs.ppf(levels), dtype=dtype).unsqueeze(-1)
    tolerance = 1e-7 if dtype == torch.float64 else 2e-3
    log_density = ours.log_prob(at).detach().double().squeeze(-1).numpy()
    expected = theirs.logpdf(at.double().squeeze(-1).numpy())
    np.testing.assert_allclose(log_density, expected, atol=tolerance)
    assert ours.mean.item() == pytest.approx(theirs.mean(), abs=3 * tolerance)


@pytest.mark.parametrize("case", TRUNCATED, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
def test_quantiles_and_draws_of_the_truncated_normal_are_scipys(case, dtype):
    ours, _, theirs = truncated(*case, dtype)
    levels = np.linspace(0.05, 0.95, 10)
    found = ours.icdf(torch.tensor(levels, dtype=dtype).unsqueeze(-1)).detach().squeeze(-1)
    np.testing.assert_allclose(found.numpy(), theirs.ppf(levels), atol=3e-3 * theirs.std())
    torch.manual_seed(0)
    draws = ours.rsample((20_000,)).detach()
    assert abs(draws.mean().item() - theirs.mean()) < 0.03 * theirs.std()
    assert draws.std().item() == pytest.approx(theirs.std(), rel=0.03)
    assert (draws >= case[2]).all()
    assert (draws <= case[3]).all()


@pytest.mark.parametrize("case", TRUNCATED, ids=str)
def test_the_truncated_normal_has_finite_gradients(case):
    ours, leaves, _ = truncated(*case, torch.float32)
    levels = torch.tensor([0.0, 1e-7, 0.5, 1 - 1e-7, 1.0]).unsqueeze(-1)
    inside = ours.icdf(torch.tensor([0.5])).detach()
    for value in (ours.log_prob(inside), ours.mean, ours.icdf(levels)):
        for gradient in torch.autograd.grad(value.sum(), leaves, retain_graph=True):
            assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("case", TRUNCATED, ids=str)
def test_the_nodes_of_the_truncated_normal_reproduce_its_moments(case):
    ours, _, theirs = truncated(*case, torch.float32)
    observation = TruncatedNormal(1, lambda n: nn.Linear(1, n), low=case[2], high=case[3])
    nodes, log_weights = observation.nodes(ours)
    mean = (log_weights.exp() * nodes).sum().item()
    variance = (log_weights.exp() * (nodes - mean).square()).sum().item()
    assert abs(mean - theirs.mean()) < 0.02 * theirs.std()
    assert variance == pytest.approx(theirs.var(), rel=0.05)


def test_bounds_may_differ_between_columns():
    observation = TruncatedNormal(2, lambda n: nn.Linear(1, n), low=[-1, -INF], high=[1, 0])
    draws = observation(torch.randn(500, 1)).sample()
    assert (draws[:, 0].abs() <= 1).all()
    assert (draws[:, 1] <= 0).all()
    assert draws[:, 1].min() < -1


def test_values_within_the_bounds_are_supported():
    observation = TruncatedNormal(2, lambda n: nn.Linear(1, n), low=-1, high=[1, 2])
    x = torch.tensor([[0.5, 2.1], [-1.0, 2.0], [-1.1, 0.0]])
    assert observation.supports(x).tolist() == [[True, False], [True, True], [False, True]]


def test_zero_and_one_are_supported_by_the_bernoulli_distribution():
    x = torch.tensor([[0.0, 0.5], [1.0, -1.0]])
    assert Bernoulli(2, lambda n: nn.Linear(1, n)).supports(x).tolist() == [
        [True, False],
        [True, False],
    ]


def test_normal_scores_integrate_polynomials():
    scores, log_weights = normal_scores(65, torch.zeros(2, 3, dtype=torch.float64))
    assert scores.shape == (65, 1, 1)
    moments = [(log_weights.exp() * scores**power).sum().item() for power in range(9)]
    assert moments == pytest.approx([1, 0, 1, 0, 3, 0, 15, 0, 105], rel=1e-4, abs=1e-9)
