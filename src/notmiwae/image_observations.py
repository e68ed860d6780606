"""Observation distributions of images: what the channels of a pixel say of each other.

``gaussian`` is the report's, with independent cells: a mean through a sigmoid and a scale, both
from the decoder. ``colour-chain`` makes every channel c of a pixel depend on the earlier ones,

    x_c = μ_c(z) + Σ_{d<c} B_cd(z) (x_d - μ_d(z)) + σ_c(z) ε_c,

a Gaussian over the channels of a pixel with any covariance. Its precision matrix Λ follows from B
and σ, and what a channel is given all others,

    x_c | x_-c ~ N(μ_c - Σ_d Λ_cd/Λ_cc (x_d - μ_d), 1/Λ_cc),

is also how a channel is *eliminated*, Λ_de ← Λ_de - Λ_dc Λ_ce/Λ_cc for the others d, e. Eliminating
a pixel's missing channels, then its observed ones, gives for any pattern of holes the conditional
of a missing channel and the marginal density of the observed ones, both in closed form, cell by
cell. Of several missing channels in a pixel, one is described given the others, and these are
drawn.

A pixel shows an intensity clipped to [0, 1], so quadrature nodes beyond stand at the bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Normal
from torch.nn.functional import softplus

from notmiwae.networks import ImageShape
from notmiwae.observations import Observation, normal_scores

MapDecoder = Callable[[int], nn.Module]
"""From a number of values per pixel to the network that makes them all from latents."""

START_SPREAD = -1.5
"""Start of every scale, through softplus: wide, so that nothing is surprising at first."""

SCALE_FLOOR = 0.005
"""Least scale: a little more than one step of eight bits."""


class Conditional(Normal):
    """Cells of rows with holes, each given what is known of its pixel.

    Its log densities of observed cells sum to the log density of all that is observed.

    Parameters
    ----------
    loc, scale : Tensor
        ``(..., N, D)``.
    values : Tensor
        Observed values and drawn ones, ``(..., N, D)`` or ``(N, D)``; 0 in the rest.
    drawn : Tensor, optional
        Missing cells that were drawn ``(N, D)``; the rest is given these.
    """

    def __init__(
        self, loc: Tensor, scale: Tensor, values: Tensor, drawn: Tensor | None = None
    ) -> None:
        super().__init__(loc, scale, validate_args=False)
        self.values, self.drawn = values, drawn


class PixelNormal(Distribution):
    """Gaussian over the channels of every pixel, independent between pixels.

    Parameters
    ----------
    loc, scale : Tensor
        μ and σ ``(..., C, P)``.
    gain : sequence of sequences of Tensor
        B_cd for d < c, each of which broadcasts against ``(..., P)``.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, gain: list[list[Tensor]]) -> None:
        self.loc, self.scale, self.gain = loc, scale, gain
        self.n_channels = loc.shape[-2]
        shape = torch.Size([*loc.shape[:-2], loc.shape[-2] * loc.shape[-1]])
        super().__init__(shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """μ ``(..., D)``."""
        return self.loc.flatten(-2)

    def innovations(self, deviations: list[Tensor]) -> list[Tensor]:
        """Return what the earlier channels of a pixel do not say of each."""
        return [
            own - sum((b * d for b, d in zip(row, deviations, strict=False)), torch.zeros(()))
            for own, row in zip(deviations, self.gain, strict=True)
        ]

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of each channel given the earlier ones of its pixel, ``(..., D)``."""
        deviations = value.unflatten(-1, (self.n_channels, -1)) - self.loc
        surprise = torch.stack(self.innovations(list(deviations.unbind(-2))), dim=-2)
        return (
            Normal(torch.zeros(()), self.scale, validate_args=False).log_prob(surprise).flatten(-2)
        )

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw channel by channel, differentiably."""
        shape = (*torch.Size(sample_shape), *self.loc.shape)
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device) * self.scale
        deviations: list[Tensor] = []
        for own, row in zip(noise.unbind(-2), self.gain, strict=True):
            said = (b * d for b, d in zip(row, deviations, strict=True))
            deviations.append(sum(said, start=own))
        return (self.loc + torch.stack(deviations, dim=-2)).flatten(-2)

    def precision(self) -> list[list[Tensor]]:
        """Λ between the channels of a pixel, C x C of ``(..., P)``."""
        channels = range(self.n_channels)
        inverse = self.scale.square().reciprocal().unbind(-2)

        def weight(c: int, d: int) -> Tensor:
            """How much of channel d is in the innovation of channel c."""
            return -self.gain[c][d] if d < c else torch.ones_like(inverse[c])

        links = [[torch.zeros_like(inverse[0]) for _ in channels] for _ in channels]
        for c in channels:
            for d in range(c + 1):
                for e in range(d + 1):
                    links[d][e] = links[d][e] + weight(c, d) * weight(c, e) * inverse[c]
        return [[links[max(d, e)][min(d, e)] for e in channels] for d in channels]

    def given(self, x: Tensor, mask: Tensor) -> Conditional:
        """Return every cell given what is known of its pixel.

        Parameters
        ----------
        x, mask : Tensor
            Zero-filled values ``(..., N, D)`` and mask ``(N, D)``.
        """
        seen = list(mask.bool().unflatten(-1, (self.n_channels, -1)).unbind(-2))
        loc = list(self.loc.unbind(-2))
        deviations = [
            torch.where(known, value - centre, torch.zeros(()).to(centre))
            for known, value, centre in zip(
                seen, x.unflatten(-1, (self.n_channels, -1)).unbind(-2), loc, strict=True
            )
        ]
        scale = list(self.scale.expand_as(self.loc).unbind(-2))
        lone = leading(seen)
        # In the opposite order, in which whatever a draw depends on has been drawn.
        for channel, here, gains, spread in reversed(eliminated(self.precision(), seen)):
            said = [gain * deviations[other] for other, gain in gains.items()]
            shift = sum(said, start=torch.zeros(()).to(spread))
            scale[channel] = torch.where(here, spread, scale[channel])
            loc[channel] = torch.where(here, loc[channel] + shift, loc[channel])
            to_draw = ~seen[channel] & ~lone[channel] & here
            if to_draw.any():
                draw = shift + spread * torch.randn_like(loc[channel])
                deviations[channel] = torch.where(to_draw, draw, deviations[channel])
        drawn = torch.stack([~s & ~one for s, one in zip(seen, lone, strict=True)], -2).flatten(-2)
        values = x
        if drawn.any():
            completed = (self.loc + torch.stack(deviations, dim=-2)).flatten(-2)
            values = torch.where(drawn, completed, x)
        return Conditional(
            torch.stack(loc, -2).flatten(-2),
            torch.stack(scale, -2).flatten(-2),
            values,
            drawn if drawn.any() else None,
        )


def leading(seen: list[Tensor]) -> list[Tensor]:
    """Return, by channel, where it is the last missing one of its pixel."""
    taken = torch.zeros_like(seen[0])
    result = []
    for known in reversed(seen):
        result.append(~known & ~taken)
        taken = taken | ~known
    return result[::-1]


Rule = tuple[int, Tensor, dict[int, Tensor], Tensor]


def eliminated(links: list[list[Tensor]], seen: list[Tensor]) -> list[Rule]:
    """Eliminate each pixel's missing channels, last first, then its observed ones.

    Parameters
    ----------
    links : C x C Tensor
        Λ, each ``(..., N, P)``.
    seen : C Tensor
        Where a channel is observed ``(N, P)``.

    Returns
    -------
    list of (channel, where, gains, scale)
        The channel, where it was eliminated at this turn, what it is given those still there:
        gains by channel, and a scale.
    """
    channels = range(len(seen))
    turns = [(c, ~seen[c]) for c in reversed(channels)] + [(c, seen[c]) for c in reversed(channels)]
    links = [list(row) for row in links]
    rules: list[Rule] = []
    for channel, here in turns:
        if not here.any():
            continue
        variance = links[channel][channel].reciprocal()
        others = [c for c in channels if c != channel]
        gains = {c: -links[channel][c] * variance for c in others}
        rules.append((channel, here, gains, variance.sqrt()))
        for d in others:
            for e in others:
                if e <= d:
                    reduced = links[d][e] + gains[d] * links[channel][e]
                    links[d][e] = links[e][d] = torch.where(here, reduced, links[d][e])
        for c in others:
            cut = torch.where(here, torch.zeros(()).to(variance), links[channel][c])
            links[channel][c] = links[c][channel] = cut
    return rules


class ImageObservation(Observation):
    """p(x | z) for images.

    Parameters
    ----------
    image_shape : ImageShape
    decoder : callable
        ``n_maps -> nn.Module`` from latents ``(..., L)`` to ``(..., n_maps P)``.
    """

    n_nodes = 25

    def __init__(self, image_shape: ImageShape) -> None:
        super().__init__()
        self.image_shape = image_shape

    def nodes(self, distribution: Any) -> tuple[Tensor, Tensor]:
        scores, log_weights = normal_scores(self.n_nodes, distribution.loc)
        return (distribution.loc + distribution.scale * scores).clamp(0, 1), log_weights

    def pick(self, distribution: Any, cells: Tensor) -> Normal:
        loc, scale = (x.flatten(-2)[..., cells] for x in (distribution.loc, distribution.scale))
        return Normal(loc, scale, validate_args=False)

    def supports(self, x: Tensor) -> Tensor:
        return (x >= 0) & (x <= 1)


class IndependentPixels(ImageObservation):
    """x ~ N(sigmoid(·), σ²), cell by cell, both from the decoder (as in the report)."""

    def __init__(self, image_shape: ImageShape, decoder: MapDecoder) -> None:
        super().__init__(image_shape)
        self.decoder = decoder(2 * image_shape.channels)

    def forward(self, z: Tensor) -> Normal:
        loc, raw_scale = self.decoder(z).chunk(2, dim=-1)
        scale = softplus(raw_scale) + SCALE_FLOOR
        return Normal(loc.sigmoid(), scale, validate_args=False)


class ColourChain(ImageObservation):
    """Channels of a pixel, each given the earlier ones; see the head of this module.

    Starts as grey: every channel resembles the one before.

    Parameters
    ----------
    image_shape, decoder
        See `ImageObservation`.
    free : collection of {'scale', 'gain'}
        What the decoder says of each pixel, beside the mean; the rest is the same for all.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        decoder: MapDecoder,
        *,
        free: Collection[str] = ("scale", "gain"),
    ) -> None:
        super().__init__(image_shape)
        n_channels = image_shape.channels
        self.widths = {
            "loc": n_channels,
            "scale": n_channels if "scale" in free else 0,
            "gain": n_channels * (n_channels - 1) // 2 if "gain" in free else 0,
        }
        self.decoder = decoder(sum(self.widths.values()))
        self.level = nn.Parameter(torch.full((n_channels, 1), 0.5))
        self.spread = nn.Parameter(torch.full((n_channels, 1), START_SPREAD))
        previous = [float(d == c - 1) for c in range(n_channels) for d in range(c)]
        self.gain = nn.Parameter(torch.tensor(previous).unsqueeze(-1))

    def forward(self, z: Tensor) -> PixelNormal:
        maps = self.decoder(z).unflatten(-1, (-1, self.image_shape.n_pixels))
        loc, raw_scale, gain = maps.split(list(self.widths.values()), dim=-2)
        loc = loc + self.level
        raw_scale = raw_scale + self.spread if self.widths["scale"] else self.spread
        gain = gain + self.gain if self.widths["gain"] else self.gain
        by_pair = iter(gain.unbind(-2))
        rows = [[next(by_pair) for _ in range(c)] for c in range(self.image_shape.channels)]
        return PixelNormal(loc, (softplus(raw_scale) + SCALE_FLOOR).expand_as(loc), rows)


IMAGE_OBSERVATIONS: dict[str, Callable[..., ImageObservation]] = {
    "gaussian": IndependentPixels,
    "colour-chain": ColourChain,
}
