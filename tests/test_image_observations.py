from itertools import product

import pytest
import torch
from torch.distributions import MultivariateNormal

from notmiwae.image_observations import (
    IMAGE_OBSERVATIONS,
    ColourChain,
    PixelNormal,
    leading,
)
from notmiwae.networks import ImageShape

MASKS = torch.tensor(list(product([0.0, 1.0], repeat=3)))
LOC = torch.tensor([0.3, 0.5, -0.2])
SCALE = torch.tensor([0.5, 0.2, 0.4])
GAIN = [[], [0.9], [-0.4, 1.2]]


def pixels(n_rows, n_pixels=1):
    """The same correlated channels in every pixel."""
    loc = LOC.reshape(1, 3, 1).expand(n_rows, 3, n_pixels)
    gain = [[torch.full((n_rows, n_pixels), b) for b in row] for row in GAIN]
    return PixelNormal(loc, SCALE.reshape(1, 3, 1).expand(n_rows, 3, n_pixels), gain)


def joint():
    strict = torch.tensor([[0.0, 0, 0], [0.9, 0, 0], [-0.4, 1.2, 0]])
    mixing = torch.linalg.inv(torch.eye(3) - strict) @ SCALE.diag()
    return LOC, mixing @ mixing.T


def conditional(covariance, x, mask):
    """Mean and covariance of the missing channels given the observed ones."""
    seen, hidden = mask.bool(), ~mask.bool()
    cross = covariance[hidden][:, seen] @ torch.linalg.inv(covariance[seen][:, seen])
    mean = LOC[hidden] + cross @ (x - LOC)[seen]
    return mean, covariance[hidden][:, hidden] - cross @ covariance[seen][:, hidden]


def test_chained_densities_are_those_of_a_gaussian_with_their_covariance():
    mean, covariance = joint()
    x = torch.randn(20, 3)
    expected = MultivariateNormal(mean, covariance).log_prob(x)
    torch.testing.assert_close(pixels(20).log_prob(x).sum(-1), expected)


def test_draws_have_that_mean_and_covariance():
    mean, covariance = joint()
    draws = pixels(1).rsample((100_000,)).squeeze(1)
    torch.testing.assert_close(draws.mean(0), mean, atol=0.01, rtol=0)
    torch.testing.assert_close(draws.T.cov(), covariance, atol=0.01, rtol=0.02)


def test_observed_channels_have_their_marginal_density_for_every_pattern_of_holes():
    mean, covariance = joint()
    x = torch.randn(8, 3)
    found = (pixels(8).given(x * MASKS, MASKS).log_prob(x) * MASKS).sum(-1)
    for row, mask, value in zip(x, MASKS.bool(), found, strict=True):
        if mask.any():
            marginal = MultivariateNormal(mean[mask], covariance[mask][:, mask])
            torch.testing.assert_close(value, marginal.log_prob(row[mask]))
        else:
            assert value == 0


def test_one_missing_channel_has_its_conditional_distribution():
    _, covariance = joint()
    x = torch.randn(8, 3)
    found = pixels(8).given(x * MASKS, MASKS)
    assert found.drawn is not None
    for index in torch.nonzero(MASKS.sum(-1) == 2).flatten().tolist():
        mean, variance = conditional(covariance, x[index], MASKS[index])
        hidden = ~MASKS[index].bool()
        torch.testing.assert_close(found.loc[index][hidden], mean)
        torch.testing.assert_close(found.scale[index][hidden].square(), variance[0])


@pytest.mark.parametrize("mask", MASKS[MASKS.sum(-1) < 2].tolist())
def test_several_missing_channels_are_drawn_from_their_joint_distribution(mask):
    _, covariance = joint()
    mask, x = torch.tensor(mask), torch.randn(3)
    rows = 100_000
    found = pixels(rows).given((x * mask).expand(rows, 3), mask.expand(rows, 3))
    draws = torch.where(found.drawn, found.values, found.rsample())[:, ~mask.bool()]
    mean, expected = conditional(covariance, x, mask)
    torch.testing.assert_close(draws.mean(0), mean, atol=0.01, rtol=0)
    torch.testing.assert_close(draws.T.cov(), expected, atol=0.01, rtol=0.02)
    assert (found.drawn.sum(-1) == (mask == 0).sum() - 1).all()


def test_each_pixel_has_its_own_holes():
    """Rows of four pixels equal four rows of one pixel."""
    x = torch.randn(2, 12)
    mask = MASKS.T.reshape(3, 2, 4).movedim(1, 0).reshape(2, 12)
    torch.manual_seed(0)
    whole = (pixels(2, 4).given(x * mask, mask).log_prob(x) * mask).reshape(2, 3, 4).sum(1)
    single = x.reshape(2, 3, 4).movedim(1, 2).reshape(8, 3)
    known = mask.reshape(2, 3, 4).movedim(1, 2).reshape(8, 3)
    apart = (pixels(8).given(single * known, known).log_prob(single) * known).sum(-1)
    torch.testing.assert_close(whole.flatten(), apart)


def test_the_last_missing_channel_of_a_pixel_is_the_leading_one():
    seen = [torch.tensor([True, False, False]), torch.tensor([False, False, True])]
    assert [one.tolist() for one in leading(seen)] == [[False, False, True], [True, True, False]]


@pytest.mark.parametrize("name", IMAGE_OBSERVATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_observation_describes_every_cell(name, channels):
    shape = ImageShape(channels, 2, 3)
    observation = IMAGE_OBSERVATIONS[name](shape, lambda n: torch.nn.Linear(2, 6 * n))
    distribution = observation(torch.randn(5, 4, 2))
    assert distribution.batch_shape == (5, 4, shape.n_features)
    assert distribution.event_shape == ()
    assert distribution.rsample().shape == distribution.mean.shape == (5, 4, shape.n_features)
    assert distribution.log_prob(torch.rand(4, shape.n_features)).shape == distribution.batch_shape


@pytest.mark.parametrize("free", [(), ("scale",), ("gain",), ("scale", "gain")])
def test_what_the_decoder_does_not_say_is_the_same_for_all_pixels(free):
    maps = []

    def decoder(n_maps):
        maps.append(n_maps)
        return torch.nn.Linear(2, 4 * n_maps)

    chain = ColourChain(ImageShape(3, 2, 2), decoder, free=free)
    found = chain(torch.randn(5, 2))
    assert maps == [3 + 3 * len(free)]
    assert (found.scale.std((0, 2)) > 1e-6).all() == ("scale" in free)
    assert (found.gain[1][0].numel() > 1) == ("gain" in free)


def test_nodes_stand_within_what_a_pixel_can_show():
    chain = ColourChain(ImageShape(3, 2, 2), lambda n: torch.nn.Linear(2, 4 * n))
    wide = torch.distributions.Normal(torch.zeros(5), torch.ones(5))
    nodes, log_weights = chain.nodes(wide)
    assert nodes.min() == 0
    assert nodes.max() == 1
    torch.testing.assert_close(log_weights.exp().sum(0).flatten()[0], torch.tensor(1.0))
