"""Missingness mechanisms of images: they know which cells share a pixel, and which are neighbours.

With f a score per cell, and p(missing) = 1/(1 + e^-f) or Φ(f),

    convolutional    f = K * x                  a convolution 3 x 3 over all channels
    convolutional-2  f = K' * tanh(K * x)       two of them
    pixelwise        f_c = a_c·φ(x) + m_c(φ(x))   x: the channels of one pixel; shared by all pixels

where φ(x) is the pixel's channels and each one's distance from the largest and from the smallest of
the others, and m a small multilayer perceptron. That a channel is missing where it dominates is a
threshold on one of these. Given the other channels of its pixel, a missing one is integrated out in
one dimension (`notmiwae.image_model`); what convolutions see is drawn.

A row of D cells is folded into `image_shape`; without one, it is a single pixel of D channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from notmiwae.missingness import LINKS, Mechanism
from notmiwae.networks import ImageShape, PenalisedSequential, mlp
from notmiwae.validation import lookup


class ImageMechanism(Mechanism):
    """A mechanism that knows the shape of an image.

    Parameters
    ----------
    n_features : int
        D.
    image_shape : (channels, height, width), optional
        By default, a single pixel with all features as its channels.
    link : {'logit', 'probit'}
    """

    def __init__(
        self, n_features: int, *, image_shape: Sequence[int] | None = None, link: str = "logit"
    ) -> None:
        super().__init__()
        self.image_shape = ImageShape(*(image_shape or (n_features, 1, 1)))
        if self.image_shape.n_features != n_features:
            raise ValueError(
                f"image_shape must be (channels, height, width) of {n_features} cells together; "
                f"got {tuple(self.image_shape)}"
            )
        self.link = lookup("link", link, LINKS)

    def channel_shares(self, missing_share: Tensor) -> Tensor:
        """Return the share of missing cells of each channel ``(C,)``."""
        return missing_share.unflatten(-1, (self.image_shape.channels, -1)).mean(-1)


class Convolutional(ImageMechanism):
    """f = K * x, a convolution of 3 x 3 pixels over all channels.

    Parameters
    ----------
    n_features, image_shape, link
        See `ImageMechanism`.
    """

    def __init__(
        self, n_features: int, *, image_shape: Sequence[int] | None = None, link: str = "logit"
    ) -> None:
        super().__init__(n_features, image_shape=image_shape, link=link)
        self.score = self.layers(self.image_shape.channels)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def layers(self, n_channels: int) -> nn.Sequential:
        """Build the score."""
        return nn.Sequential(nn.Conv2d(n_channels, n_channels, 3, padding=1))

    @property
    def last(self) -> nn.Conv2d:
        """The last convolution."""
        return self.score[-1]  # type: ignore[return-value]

    @torch.no_grad()
    def start(self, missing_share: Tensor) -> None:
        share = self.channel_shares(missing_share).clamp(0.01, 0.99)
        self.last.bias.copy_(self.link.score_of(share))  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Distribution:
        images = x.reshape(-1, *self.image_shape)
        return self.link(self.score(images).reshape(x.shape))


class TwoConvolutions(Convolutional):
    """f = K' * tanh(K * x), two convolutions of 3 x 3 pixels (as in the report).

    Parameters
    ----------
    n_features, image_shape, link
        See `ImageMechanism`.
    """

    n_hidden = 512

    def layers(self, n_channels: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(n_channels, self.n_hidden, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(self.n_hidden, n_channels, 3, padding=1),
        )


class Pixelwise(ImageMechanism):
    """f_c = a_c·φ(x) + m_c(φ(x)): a small network over the channels of a pixel, for all pixels.

    Starts at each channel's share, and with no say of any value. A channel that never missed a
    value is not asked for its mask.

    Parameters
    ----------
    n_features, image_shape, link
        See `ImageMechanism`.
    n_hidden : int
        Width of the hidden layer of m.
    unit : float
        Difference of two channels that counts as one: a sharp threshold needs a steep slope, which
        is reached sooner in small units.
    """

    learns: Tensor

    def __init__(
        self,
        n_features: int,
        *,
        image_shape: Sequence[int] | None = None,
        n_hidden: int = 16,
        unit: float = 1.0,
        link: str = "logit",
    ) -> None:
        super().__init__(n_features, image_shape=image_shape, link=link)
        n_channels = self.image_shape.channels
        self.unit = unit
        n_contrasts = n_channels if n_channels == 1 else 3 * n_channels
        self.linear = nn.Linear(n_contrasts, n_channels, bias=False)
        self.bend = mlp(n_contrasts, n_channels, (n_hidden,), "relu", PenalisedSequential)
        self.intercept = nn.Parameter(torch.zeros(n_channels))
        for weight in (self.linear.weight, *self.bend[-1].parameters()):
            nn.init.zeros_(weight)
        self.register_buffer("learns", torch.ones(n_channels))

    @torch.no_grad()
    def start(self, missing_share: Tensor) -> None:
        share = self.channel_shares(missing_share)
        self.intercept.copy_(self.link.score_of(share.clamp(0.01, 0.99)))
        self.learns.copy_(share > 0)

    def score(self, pixels: Tensor) -> Tensor:
        """Return f for the channels of pixels ``(..., C)``."""
        features = contrasts(pixels) / self.unit
        return (self.linear(features) + self.bend(features)) * self.learns + self.intercept

    def forward(self, x: Tensor) -> Distribution:
        score = self.score(by_pixel(x, self.image_shape.channels))
        return self.link(score.movedim(-1, -2).flatten(-2))


def by_pixel(x: Tensor, n_channels: int) -> Tensor:
    """Turn rows ``(..., C P)`` into the channels of their P pixels ``(..., P, C)``."""
    return x.unflatten(-1, (n_channels, -1)).movedim(-2, -1)


def contrasts(pixels: Tensor) -> Tensor:
    """Return channels ``(..., C)`` and their distances from the others' extremes, 3 C in all."""
    n_channels = pixels.shape[-1]
    if n_channels == 1:
        return pixels
    others = torch.tensor(
        [[d for d in range(n_channels) if d != c] for c in range(n_channels)], device=pixels.device
    )
    rest = pixels[..., others]
    return torch.cat([pixels, pixels - rest.amax(-1), pixels - rest.amin(-1)], dim=-1)
