import math
from itertools import product

import pytest
import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal

from notmiwae.bounds import importance_weighted
from notmiwae.encoders import ENCODERS, Encoder
from notmiwae.mechanisms import (
    MECHANISMS,
    AtRandom,
    FactorisedMechanism,
    Ignorable,
    Linear,
    Nonlinear,
    SelfMasking,
    SelfMaskingKnown,
)
from notmiwae.model import LatentVariableModel
from notmiwae.observations import OBSERVATIONS

VALID = [
    (observation, mechanism, integrate)
    for observation, mechanism, integrate in product(OBSERVATIONS, MECHANISMS, ["auto", "sample"])
    if OBSERVATIONS[observation].continuous
    or (integrate == "auto" and issubclass(MECHANISMS[mechanism], FactorisedMechanism))
]


class Prior(Encoder):
    """Proposes from the prior, whatever is observed."""

    def forward(self, x, mask):
        return Independent(Normal(torch.zeros(len(x), 1), torch.ones(len(x), 1)), 1)


def analytic_log_likelihood(linear_gaussian, x, mask):
    mean, covariance = linear_gaussian.joint()
    result = []
    for row, kept in zip(x, mask.bool(), strict=True):
        marginal = covariance[kept][:, kept]
        result.append(
            MultivariateNormal(mean[kept], marginal).log_prob(row[kept])
            if kept.any()
            else torch.zeros(())
        )
    return torch.stack(result)


def self_masking(weight, intercept, link="probit"):
    mechanism = SelfMasking(len(weight), link=link)
    with torch.no_grad():
        mechanism.weight.copy_(torch.tensor(weight))
        mechanism.intercept.copy_(torch.tensor(intercept))
    return mechanism


def flat_gradient(value, parameters):
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, parameters)])


@pytest.mark.parametrize(("observation", "mechanism", "integrate"), VALID)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_what_stands_under_the_mask_changes_no_weight_and_no_gradient(
    observe, steer, encoder, observation, mechanism, integrate
):
    torch.manual_seed(0)
    model = LatentVariableModel(
        ENCODERS[encoder](3, 2, (5,)), observe(observation, 3), steer(mechanism, 3), integrate
    )
    x = torch.randint(2, (6, 3)).float()
    mask = torch.tensor([[1.0, 1, 1], [0, 1, 1], [1, 0, 0], [0, 0, 0], [0, 1, 0], [1, 1, 0]])
    results = []
    for rows in (x * mask, torch.where(mask.bool(), x, torch.tensor(17.0))):
        torch.manual_seed(1)
        log_weights = model(rows, mask, 4).log_weights
        assert log_weights.shape == (4, 6)
        assert torch.isfinite(log_weights).all()
        parameters = list(model.parameters())
        found = torch.autograd.grad(log_weights.sum(), parameters, allow_unused=True)
        results.append([log_weights, *(gradient for gradient in found if gradient is not None)])
    for first, second in zip(*results, strict=True):
        assert torch.isfinite(first).all()
        assert torch.equal(first, second)


@pytest.mark.parametrize("family", [AtRandom, SelfMasking, SelfMaskingKnown])
def test_a_context_that_turns_out_missing_changes_no_weight(observe, family):
    """Column 0 was complete in training, and explains column 1."""
    torch.manual_seed(0)
    mechanism = family(3, context=True)
    mechanism.start(torch.tensor([0.0, 0.5, 0.5]))
    nn.init.normal_(mechanism.context.weight)
    encoder = ENCODERS["zero-fill"](3, 2, (5,))
    model = LatentVariableModel(encoder, observe("gaussian", 3), mechanism)
    mask = torch.tensor([[0.0, 1, 0], [1, 0, 1]])
    weights = []
    for value in (0.0, 17.0):
        torch.manual_seed(1)
        x = torch.where(mask.bool(), 0.5, value)
        weights.append(model(x, mask, 4).log_weights)
    assert torch.equal(*weights)


@pytest.mark.parametrize(
    ("observation", "mechanism"),
    [
        (observation, mechanism)
        for observation in OBSERVATIONS
        for mechanism in MECHANISMS
        if not OBSERVATIONS[observation].continuous
        and not issubclass(MECHANISMS[mechanism], FactorisedMechanism)
    ],
)
def test_a_discrete_observation_that_must_be_drawn_is_refused(
    observe, steer, observation, mechanism
):
    with pytest.raises(ValueError, match="cannot be drawn with a gradient") as error:
        LatentVariableModel(Prior(), observe(observation, 3), steer(mechanism, 3))
    for alternative in ("self-masking", "integrate='auto'", "'ignorable'", "'gaussian'"):
        assert alternative in str(error.value)


def test_a_discrete_observation_with_sampling_asked_for_is_refused(observe, steer):
    with pytest.raises(ValueError, match="integrate='sample' needs such draws"):
        LatentVariableModel(Prior(), observe("bernoulli", 3), steer("self-masking", 3), "sample")


def test_a_discrete_observation_needs_no_draws_under_an_ignorable_mechanism(observe):
    model = LatentVariableModel(Prior(), observe("bernoulli", 3), Ignorable(3), "auto")
    assert model.integrated


def test_an_unknown_integration_is_answered_with_the_known_ones(observe):
    with pytest.raises(ValueError, match="integrate must be one of 'auto', 'sample'; got 'exact'"):
        LatentVariableModel(Prior(), observe("gaussian", 3), Ignorable(3), "exact")


@pytest.mark.parametrize("integrate", ["auto", "sample"])
def test_with_the_exact_posterior_all_weights_are_the_likelihood(linear_gaussian, integrate):
    torch.manual_seed(0)
    x, mask = linear_gaussian.rows()
    log_weights = linear_gaussian.model(integrate=integrate)(x, mask, 7).log_weights
    expected = analytic_log_likelihood(linear_gaussian, x, mask).expand(7, -1)
    torch.testing.assert_close(log_weights, expected, atol=2e-5, rtol=0)


def test_a_flat_mechanism_adds_its_own_likelihood(linear_gaussian):
    """P(missing) = Φ(c_j), whatever x."""
    torch.manual_seed(0)
    x, mask = linear_gaussian.rows()
    mechanism = self_masking([0.0, 0.0, 0.0], [-1.0, 0.3, 0.8])
    missing = torch.special.ndtr(mechanism.intercept)
    expected = analytic_log_likelihood(linear_gaussian, x, mask)
    expected = expected + (mask * (1 - missing) + (1 - mask) * missing).log().sum(-1)
    for integrate in ("auto", "sample"):
        log_weights = linear_gaussian.model(mechanism, integrate)(x, mask, 5).log_weights
        torch.testing.assert_close(log_weights, expected.expand(5, -1), atol=3e-5, rtol=0)


def test_the_bound_grows_with_the_number_of_samples_towards_the_likelihood(linear_gaussian):
    torch.manual_seed(0)
    x, mask = (tensor[:3].repeat(2000, 1) for tensor in linear_gaussian.rows())
    model = linear_gaussian.model(encoder=Prior())
    bounds = [importance_weighted(model(x, mask, k).log_weights).mean().item() for k in (1, 5, 50)]
    limit = analytic_log_likelihood(linear_gaussian, x[:3], mask[:3]).mean().item()
    assert bounds[0] < bounds[1] - 0.1
    assert bounds[1] < bounds[2] - 0.1
    assert bounds[2] < limit + 0.05
    many = importance_weighted(model(x[:3], mask[:3], 200_000).log_weights).mean().item()
    assert many == pytest.approx(limit, abs=0.05)


@pytest.mark.parametrize("link", ["probit", "logit"])
def test_integrating_is_tighter_than_sampling_and_has_the_same_limit(linear_gaussian, link):
    torch.manual_seed(0)
    x, mask = linear_gaussian.rows()
    mechanism = self_masking([3.0, -2.0, 1.0], [-1.0, 0.3, 0.5], link)
    few, limits = [], []
    for integrate in ("auto", "sample"):
        model = linear_gaussian.model(mechanism, integrate)
        with torch.no_grad():
            rows = [tensor[1:].repeat(2000, 1) for tensor in (x, mask)]
            few.append(importance_weighted(model(*rows, 3).log_weights).mean())
            limits.append(importance_weighted(model(x, mask, 20_000).log_weights))
    assert few[0] > few[1] + 0.05
    torch.testing.assert_close(*limits, atol=0.05, rtol=0)


def test_the_limit_is_the_likelihood_by_brute_force(linear_gaussian):
    """Of a row with one observed cell and two missing ones, on a grid over z, x_1 and x_2."""
    torch.manual_seed(0)
    x, mask = (tensor[2:3] for tensor in linear_gaussian.rows())
    slopes, intercepts = [3.0, -2.0, 1.0], [-1.0, 0.3, 0.5]
    model = linear_gaussian.model(self_masking(slopes, intercepts))
    with torch.no_grad():
        bound = importance_weighted(model(x, mask, 100_000).log_weights).item()
    z = torch.linspace(-7, 7, 1401, dtype=torch.float64)
    step = 14 / 1400
    values = torch.linspace(-12, 12, 4801, dtype=torch.float64)
    total = Normal(0.0, 1.0).log_prob(z)
    for j, (slope, intercept) in enumerate(zip(slopes, intercepts, strict=True)):
        loc = linear_gaussian.weight[j].double() * z + linear_gaussian.bias[j].double()
        density = Normal(loc, linear_gaussian.scale[j].double())
        if mask[0, j]:
            at = x[0, j].double()
            total = total + density.log_prob(at) + torch.special.log_ndtr(-(slope * at + intercept))
        else:
            missing = torch.special.log_ndtr(slope * values + intercept).unsqueeze(-1)
            inner = density.log_prob(values.unsqueeze(-1)) + missing
            total = total + inner.logsumexp(0) + math.log(24 / 4800)
    assert bound == pytest.approx((total.logsumexp(0) + math.log(step)).item(), abs=0.01)


@pytest.mark.parametrize("family", [Linear, Nonlinear, SelfMasking])
def test_the_mechanism_sends_a_gradient_through_the_draws_to_the_decoder(linear_gaussian, family):
    """The only path from p(s | x) to the decoder leads through the missing values."""
    torch.manual_seed(0)
    mechanism = family(3)
    for parameter in mechanism.parameters():
        nn.init.normal_(parameter)
    model = linear_gaussian.model(mechanism, "sample")
    x, mask = (tensor[1:] for tensor in linear_gaussian.rows())
    likelihood = model.observation(torch.randn(8, 3, 1))
    _, log_mechanism = model.explain(likelihood, x, mask)
    gradients = torch.autograd.grad(log_mechanism.sum(), list(model.observation.parameters()))
    assert all(gradient.abs().max() > 1e-3 for gradient in gradients)


def test_sampled_mechanisms_see_the_observed_values_and_the_draws(linear_gaussian):
    model = linear_gaussian.model(Linear(3), "sample")
    seen = []
    model.mechanism.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x, mask = linear_gaussian.rows()
    sample = model(x, mask, 5)
    observed = mask.bool().expand(5, -1, -1)
    assert torch.equal(seen[0][observed], x.expand(5, -1, -1)[observed])
    assert torch.equal(seen[0][~observed], sample.missing.mean[~observed])


def test_the_noisy_gradient_is_the_exact_one_on_average(linear_gaussian):
    """With one sample both bounds are expectations: of log p(s | x_m), and of log r, given z.

    So compare the gradient of E[p(s | x_m) | z] = r(z) itself, at fixed latents.
    """
    torch.manual_seed(0)
    mechanism = self_masking([1.5, -1.0, 0.7], [-0.2, 0.3, 0.5], "logit")
    exact, drawn = (linear_gaussian.model(mechanism, how) for how in ("auto", "sample"))
    drawn.observation.load_state_dict(exact.observation.state_dict())
    latents = torch.tensor([[[0.7], [-0.4]]])
    x, mask = torch.zeros(2, 3), torch.zeros(2, 3)
    _, log_exact = exact.explain(exact.observation(latents), x, mask)
    _, log_drawn = drawn.explain(drawn.observation(latents.expand(100_000, -1, -1)), x, mask)
    torch.testing.assert_close(log_drawn.exp().mean(0), log_exact.exp()[0], atol=0.005, rtol=0)
    first = flat_gradient(log_exact.exp().sum(), list(exact.observation.parameters()))
    second = flat_gradient(log_drawn.exp().mean(0).sum(), list(drawn.observation.parameters()))
    torch.testing.assert_close(first, second, atol=0.005, rtol=0.02)


@pytest.mark.parametrize("integrate", ["auto", "sample"])
def test_completed_values_belong_to_what_is_remembered(linear_gaussian, integrate):
    torch.manual_seed(0)
    mechanism = None if integrate == "auto" else Linear(3)
    model = linear_gaussian.model(mechanism, integrate)
    nn.init.constant_(model.observation.spread, -1e3)
    x, mask = linear_gaussian.rows()
    sample = model(x, mask, 6)
    values = model.complete(model.resumable(sample), x, mask)
    torch.testing.assert_close(values, sample.likelihood.mean, atol=0.06, rtol=0)


def test_integrated_cells_are_drawn_afresh_and_weighed_ones_stay(linear_gaussian):
    x, mask = linear_gaussian.rows()
    for mechanism, afresh in ((None, True), (Linear(3), False)):
        model = linear_gaussian.model(mechanism)
        sample = model(x, mask, 2)
        first, second = (model.complete(model.resumable(sample), x, mask) for _ in range(2))
        assert torch.equal(first, second) != afresh
        assert afresh or torch.equal(first, sample.missing.mean)
