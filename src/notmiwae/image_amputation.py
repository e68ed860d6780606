"""Amputation of images: delete values of complete images (N, C, H, W) by a rule of the pixel.

With x_c the value of channel c of a pixel, in [0, 1],

    dominant-channel   x_c > max of the pixel's other channels: this value goes missing
    dominant-pixel     the same, and the whole pixel goes missing
    clipping           x_c > limit: an over-exposed value goes missing, in every channel

A rule has nothing to learn, so that there is nothing to fit; `missing_values` says which values it
deletes and `ampute_images` deletes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from notmiwae.validation import check_number, lookup

Bools = NDArray[np.bool_]
CHANNELS = {"red": 0, "green": 1, "blue": 2}


def dominant_channel(x: NDArray[Any], channel: int, limit: float | None) -> Bools:
    """A channel goes missing where it exceeds both others of its pixel."""
    missing = np.zeros(x.shape, bool)
    missing[:, channel] = x[:, channel] > np.delete(x, channel, axis=1).max(1)
    return missing


def dominant_pixel(x: NDArray[Any], channel: int, limit: float | None) -> Bools:
    """A whole pixel goes missing where one channel exceeds both others."""
    one = dominant_channel(x, channel, limit)[:, [channel]]
    return np.broadcast_to(one, x.shape).copy()


def clipping(x: NDArray[Any], channel: int, limit: float | None) -> Bools:
    """Values above a limit go missing."""
    check_number("limit", limit, above=0, below=1)
    return x > limit


IMAGE_AMPUTATIONS: dict[str, Callable[[NDArray[Any], int, float | None], Bools]] = {
    "dominant-channel": dominant_channel,
    "dominant-pixel": dominant_pixel,
    "clipping": clipping,
}


def missing_values(
    images: ArrayLike,
    kind: str = "dominant-channel",
    *,
    channel: str = "blue",
    limit: float | None = None,
) -> Bools:
    """Return which values a rule deletes ``(N, C, H, W)``.

    Parameters
    ----------
    images : array-like, shape (N, C, H, W)
        Complete images: bytes, or floats from 0 to 1.
    kind : str
        A name in `IMAGE_AMPUTATIONS`, explained at the top of this module.
    channel : {'red', 'green', 'blue'}
        The one that dominates; 'clipping' has no use for it.
    limit : float, optional
        For 'clipping', which needs it: values above it go missing; between 0 and 1.

    Raises
    ------
    ValueError
        If a parameter is not among what is allowed, or the images are not.
    """
    rule = lookup("kind", kind, IMAGE_AMPUTATIONS)
    index = lookup("channel", channel, CHANNELS)
    if limit is not None and kind != "clipping":
        raise ValueError(f"kind {kind!r} takes no limit; got limit={limit!r}")
    x = to_unit(images)
    if kind != "clipping" and x.shape[1] != len(CHANNELS):
        raise ValueError(f"kind {kind!r} needs images of three channels; got shape {x.shape}")
    return rule(x, index, limit)


def ampute_images(
    images: ArrayLike,
    kind: str = "dominant-channel",
    *,
    channel: str = "blue",
    limit: float | None = None,
) -> NDArray[Any]:
    """Return images from 0 to 1 with NaN where a rule deletes; see `missing_values`.

    Examples
    --------
    >>> import numpy as np
    >>> from notmiwae.image_amputation import ampute_images
    >>> sea_and_grass = np.array([[[[0.1, 0.2]], [[0.3, 0.7]], [[0.9, 0.1]]]])
    >>> ampute_images(sea_and_grass)[0, 2]  # blue
    array([[nan, 0.1]])
    """
    missing = missing_values(images, kind, channel=channel, limit=limit)
    x = to_unit(images).copy()
    x[missing] = np.nan
    return x


def to_unit(images: ArrayLike) -> NDArray[Any]:
    """Return images as floats from 0 to 1: bytes are divided by 255."""
    x = np.asarray(images)
    if x.ndim != 4:
        raise ValueError(f"images must have shape (N, C, H, W); got {x.shape}")
    if x.dtype == np.uint8:
        return x.astype(np.float32) / np.float32(255)
    if x.dtype.kind != "f" or not (x.size and x.min() >= 0 and x.max() <= 1):
        raise ValueError(
            "images must be complete: bytes, or floats from 0 to 1; divide by the largest value "
            f"that there can be; got {x.dtype} with values outside"
        )
    return x
