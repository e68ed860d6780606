import math
from itertools import product

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

from notmiwae.encoders import Encoder
from notmiwae.image_mechanisms import Convolutional, Pixelwise
from notmiwae.image_model import ImageModel
from notmiwae.image_observations import IMAGE_OBSERVATIONS
from notmiwae.mechanisms import Ignorable, SelfMasking
from notmiwae.networks import ImageShape

SHAPE = ImageShape(3, 1, 2)
MECHANISMS = [Pixelwise, SelfMasking, Convolutional, Ignorable]


class Prior(Encoder):
    """Proposes from the prior, so that weights are densities of what is seen."""

    def forward(self, x, mask):
        return Independent(Normal(torch.zeros(len(x), 2), torch.ones(len(x), 2)), 1)


class Fixed(nn.Module):
    """A decoder that says the same of every pixel, whatever the latents."""

    def __init__(self, n_maps):
        super().__init__()
        maps = torch.tensor([-0.2, 0.1, 0.05, -0.4, -0.8, -0.6, 0.3, -0.2, 0.4])[:n_maps]
        self.maps = nn.Parameter(maps.repeat_interleave(2))

    def forward(self, z):
        return self.maps.expand(*z.shape[:-1], -1)


def build(mechanism, observation="colour-chain", integrate="auto", decoder=Fixed):
    options = {"image_shape": SHAPE} if mechanism in (Pixelwise, Convolutional) else {}
    explanation = mechanism(6, **options)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in explanation.parameters():
            parameter.copy_(0.6 * torch.randn(parameter.shape, generator=generator))
    family = IMAGE_OBSERVATIONS[observation]
    return ImageModel(Prior(), family(SHAPE, decoder), explanation, integrate)


# Pixels side by side: rows hold two of each channel.
MASK = torch.tensor(
    [[1.0, 1, 1, 1, 0, 1], [0, 1, 1, 1, 1, 0], [1, 0, 0, 1, 0, 1], [0, 1, 0, 0, 0, 1]]
)
X = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))


def brute_force(model, n_draws=60_000):
    """Log p(x_o, s) and E[x | x_o, s] by plain Monte Carlo over everything missing.

    Draws stand for intensities, which a pixel shows clipped.
    """
    torch.manual_seed(5)
    likelihood = model.observation(torch.zeros(len(X), 2))
    if hasattr(likelihood, "given"):
        density = (likelihood.given(X * MASK, MASK).log_prob(X) * MASK).sum(-1)
    else:
        density = (likelihood.log_prob(X) * MASK).sum(-1)
    sampled = ImageModel(model.encoder, model.observation, model.mechanism, "sample")
    latents = torch.zeros(n_draws, len(X), 2)
    with torch.no_grad():
        given = sampled.likelihood(latents, X * MASK, MASK)
        draws = given.rsample()
        if given.drawn is not None:
            draws = torch.where(given.drawn, given.values, draws)
        filled = torch.where(MASK.bool(), X, draws)
        shown = filled.clamp(0, 1) if isinstance(model.mechanism, Pixelwise) else filled
        log_mask = model.mechanism(shown).log_prob(MASK).sum(-1)
    weights = log_mask.softmax(0)
    mean = (weights.unsqueeze(-1) * shown).sum(0)
    return density + log_mask.logsumexp(0) - math.log(n_draws), mean


@pytest.mark.parametrize("observation", IMAGE_OBSERVATIONS)
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_weights_and_means_are_those_of_brute_force(mechanism, observation):
    """One channel missing in a pixel, two, or all: the integral plus draws is unbiased."""
    torch.manual_seed(0)
    model = build(mechanism, observation)
    with torch.no_grad():
        sample = model(X, MASK, 20_000)
        expected, mean = brute_force(model)
    log_weights = sample.log_weights
    found = log_weights.logsumexp(0) - math.log(len(log_weights))
    torch.testing.assert_close(found, expected, atol=0.03, rtol=0)
    average = (log_weights.softmax(0).unsqueeze(-1) * sample.missing.mean).sum(0)
    hidden = MASK == 0
    torch.testing.assert_close(average[hidden], mean[hidden], atol=0.02, rtol=0)


@pytest.mark.parametrize("mechanism", [Pixelwise, SelfMasking])
def test_one_missing_channel_is_integrated_without_noise(mechanism):
    model = build(mechanism)
    mask = torch.tensor([[1.0, 1, 0, 1, 1, 0]])
    log_weights = model(X[:1], mask, 5).log_weights
    torch.testing.assert_close(log_weights, log_weights[:1].expand(5, 1))


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_completed_values_keep_what_is_observed_and_follow_the_conditional_mean(mechanism):
    torch.manual_seed(0)
    model = build(mechanism)
    with torch.no_grad():
        sample = model(X, MASK, 8_000)
        values = model.complete(model.resumable(sample), X, MASK)
    known = MASK.bool()
    if model.integrated:
        assert torch.equal(values[:, known], X[known].expand(8_000, -1))
        weights = sample.log_weights.softmax(0).unsqueeze(-1)
        drawn, expected = (weights * values).sum(0), (weights * sample.missing.mean).sum(0)
        torch.testing.assert_close(drawn[~known], expected[~known], atol=0.02, rtol=0)
    else:
        assert torch.equal(values, sample.missing.mean)


@pytest.mark.parametrize(
    ("mechanism", "observation", "integrate"),
    [*product(MECHANISMS, IMAGE_OBSERVATIONS, ["auto", "sample"])],
)
def test_what_stands_under_the_mask_changes_no_weight_and_no_gradient(
    mechanism, observation, integrate
):
    torch.manual_seed(0)
    model = build(mechanism, observation, integrate, lambda n: nn.Linear(2, 2 * n))
    results = []
    for rows in (X * MASK, torch.where(MASK.bool(), X, torch.tensor(17.0))):
        torch.manual_seed(1)
        log_weights = model(rows, MASK, 3).log_weights
        assert log_weights.shape == (3, 4)
        parameters = list(model.parameters())
        found = torch.autograd.grad(log_weights.sum(), parameters, allow_unused=True)
        results.append([log_weights, *(gradient for gradient in found if gradient is not None)])
    for first, second in zip(*results, strict=True):
        assert torch.isfinite(first).all()
        assert torch.equal(first, second)


@pytest.mark.parametrize("mechanism", [Pixelwise, SelfMasking])
def test_images_without_holes_are_weighed_too(mechanism):
    model = build(mechanism)
    sample = model(X, torch.ones_like(X), 2)
    assert torch.isfinite(sample.log_weights).all()
    assert torch.equal(sample.missing.mean[0] * 0, torch.zeros(4, 6))


def test_a_frozen_decoder_stays_as_it_is():
    def decoder(n_maps):
        return nn.Sequential(nn.Flatten(0, 1), nn.Linear(2, 2 * n_maps), nn.BatchNorm1d(2 * n_maps))

    model = build(Pixelwise)
    model.observation = IMAGE_OBSERVATIONS["gaussian"](SHAPE, decoder)
    model.freeze()
    before = {key: value.clone() for key, value in model.observation.state_dict().items()}
    model.train()
    model.observation(torch.randn(3, 4, 2))
    assert not any(parameter.requires_grad for parameter in model.observation.parameters())
    assert all(
        torch.equal(value, before[key]) for key, value in model.observation.state_dict().items()
    )
