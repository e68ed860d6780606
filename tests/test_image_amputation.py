import numpy as np
import pytest

from notmiwae.image_amputation import (
    CHANNELS,
    IMAGE_AMPUTATIONS,
    ampute_images,
    missing_values,
    to_unit,
)
from notmiwae.image_datasets import photographs

OPTIONS = {"clipping": {"limit": 0.6}}


@pytest.fixture(scope="module")
def images():
    return photographs().images[:40]


@pytest.mark.parametrize("kind", IMAGE_AMPUTATIONS)
@pytest.mark.parametrize("channel", CHANNELS)
def test_what_is_left_is_what_was_there(images, kind, channel):
    holes = ampute_images(images, kind, channel=channel, **OPTIONS.get(kind, {}))
    missing = np.isnan(holes)
    assert 0 < missing.mean() < 1
    np.testing.assert_array_equal(holes[~missing], (images / np.float32(255))[~missing])
    again = missing_values(images / 255.0, kind, channel=channel, **OPTIONS.get(kind, {}))
    np.testing.assert_array_equal(missing, again)  # bytes and floats alike


@pytest.mark.parametrize(("channel", "index"), CHANNELS.items())
def test_a_channel_goes_missing_where_it_exceeds_both_others(images, channel, index):
    missing = missing_values(images, channel=channel)
    first, second = (images[:, other] for other in range(3) if other != index)
    here = images[:, index]
    np.testing.assert_array_equal(missing[:, index], (here > first) & (here > second))
    assert missing.sum() == missing[:, index].sum()


def test_equal_channels_stay():
    assert not missing_values(np.full((1, 3, 4, 4), 7, np.uint8)).any()


def test_a_pixel_goes_missing_as_a_whole(images):
    whole = missing_values(images, "dominant-pixel", channel="green")
    one = missing_values(images, "dominant-channel", channel="green")
    np.testing.assert_array_equal(whole, np.repeat(one[:, [1]], 3, axis=1))


def test_clipping_deletes_above_the_limit_in_every_channel_and_in_grey(images):
    np.testing.assert_array_equal(missing_values(images, "clipping", limit=0.6), images > 153)
    grey = images.mean(1, keepdims=True) / 255
    np.testing.assert_array_equal(missing_values(grey, "clipping", limit=0.6), grey > 0.6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "dark"}, "kind must be one of 'dominant-channel'.*got 'dark'"),
        ({"channel": "cyan"}, "channel must be one of 'red'.*got 'cyan'"),
        ({"kind": "clipping"}, "limit must be a number.*got None"),
        ({"kind": "clipping", "limit": 200}, "limit must be a number.*got 200"),
        ({"limit": 0.5}, "takes no limit; got limit=0.5"),
    ],
)
def test_mistakes_are_named(images, options, said):
    with pytest.raises(ValueError, match=said):
        missing_values(images, **options)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((3, 32, 32)), "must have shape"),
        (np.full((1, 3, 2, 2), 200.0), "floats from 0 to 1"),
        (np.full((1, 3, 2, 2), np.nan), "must be complete"),
        (np.zeros((1, 1, 2, 2)), "three channels"),
    ],
)
def test_images_that_are_none_are_named(images, said):
    with pytest.raises(ValueError, match=said):
        missing_values(images)


def test_bytes_become_floats_from_0_to_1():
    assert to_unit(np.array([[[[0, 51, 255]]]], np.uint8)).tolist() == [
        [[[0.0, pytest.approx(0.2), 1.0]]]
    ]
