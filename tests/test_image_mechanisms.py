import pytest
import torch

from notmiwae.image_mechanisms import Convolutional, Pixelwise, TwoConvolutions, contrasts

SHAPE = (3, 4, 4)
FAMILIES = [Convolutional, TwoConvolutions, Pixelwise]


def image_mechanism(family, **options):
    mechanism = family(48, image_shape=SHAPE, **options)
    for parameter in mechanism.parameters():
        torch.nn.init.normal_(parameter)
    return mechanism


def influence(mechanism):
    """Which pixels change the mask's probability at the pixel in the second row and column."""
    x = torch.randn(1, 48, requires_grad=True)
    score = mechanism(x).log_prob(torch.zeros(1, 48)).reshape(3, 4, 4)[:, 1, 1].sum()
    [gradient] = torch.autograd.grad(score, x)
    return gradient.reshape(3, 16).abs().sum(0).nonzero().flatten().tolist()


def test_a_pixelwise_mechanism_sees_the_channels_of_its_pixel_only():
    assert influence(image_mechanism(Pixelwise)) == [5]


def test_a_convolution_sees_the_neighbours():
    assert influence(image_mechanism(Convolutional)) == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert influence(image_mechanism(TwoConvolutions)) == list(range(16))


@pytest.mark.parametrize("family", FAMILIES)
def test_it_starts_at_the_share_of_each_channel(family):
    mechanism = family(48, image_shape=SHAPE)
    share = torch.tensor([0.05, 0.2, 0.7]).repeat_interleave(16)
    mechanism.start(share)
    torch.testing.assert_close(mechanism(torch.rand(2, 48)).mean, (1 - share).expand(2, 48))


def test_a_channel_that_is_never_missing_is_not_explained():
    mechanism = image_mechanism(Pixelwise)
    mechanism.start(torch.tensor([0.0, 0.0, 0.3]).repeat_interleave(16))
    probability = mechanism(torch.rand(2, 48)).mean.reshape(2, 3, 16)
    assert (probability[:, :2].std(-1) == 0).all()
    assert (probability[:, 2].std(-1) > 0).all()


def test_contrasts_are_distances_from_the_extremes_of_the_others():
    found = contrasts(torch.tensor([0.2, 0.9, 0.5])).reshape(3, 3)
    torch.testing.assert_close(found[1], torch.tensor([-0.7, 0.4, -0.4]))
    torch.testing.assert_close(found[2], torch.tensor([-0.3, 0.7, 0.3]))
    assert contrasts(torch.tensor([0.2])).tolist() == pytest.approx([0.2])


def test_a_pixelwise_mechanism_learns_that_a_channel_is_missing_where_it_dominates():
    torch.manual_seed(0)
    x = torch.rand(500, 48)
    channels = x.reshape(500, 3, 16)
    mask = torch.ones_like(channels)
    mask[:, 2] = (channels[:, 2] <= channels[:, :2].amax(1)).float()
    mechanism = Pixelwise(48, image_shape=SHAPE, unit=0.05)
    mechanism.start(1 - mask.flatten(1).mean(0))
    optimizer = torch.optim.Adam(mechanism.parameters(), 0.05)
    for _ in range(60):
        optimizer.zero_grad()
        (-mechanism(x).log_prob(mask.flatten(1)).sum(-1).mean()).backward()
        optimizer.step()
    right = (mechanism(x).mean.reshape(500, 3, 16) > 0.5) == mask.bool()
    assert right[:, 2].float().mean() > 0.97


@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_shape_a_row_is_one_pixel(family):
    mechanism = family(5)
    assert mechanism.image_shape == (5, 1, 1)
    assert mechanism(torch.rand(7, 2, 5)).batch_shape == (7, 2, 5)


def test_a_shape_of_other_size_is_refused():
    with pytest.raises(ValueError, match=r"of 48 cells together; got \(3, 4, 5\)"):
        Pixelwise(48, image_shape=(3, 4, 5))
