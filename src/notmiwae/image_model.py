"""The latent variable model of images: `notmiwae.model` with pixels whose channels hang together.

The observed channels of a pixel say something of the missing ones, given z, so that weights are

    w_k = p(x_o | z_k) p(s | x_o, z_k) p(z_k) / q(z_k | x_o),

    p(s | x_o, z) = ∫ p(x_m | x_o, z) p(s | x_o, x_m) dx_m.

A *pixelwise* mechanism leaves one integral per pixel with one missing channel c,

    ∫ p(x_c | x_-c, z) Π_d p(s_d | x_-c, x_c) dx_c,

by quadrature; a factorised one leaves the same with p(s_c=0 | x_c) only. Where several channels of
a pixel are missing, all but one are drawn given what is observed, with a gradient, and the last is
integrated given the draws: the weight is unbiased all the same, and the bound a bound. Mechanisms
that see neighbours have all missing cells drawn.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal

from notmiwae.image_mechanisms import Pixelwise, by_pixel
from notmiwae.image_observations import Conditional, ImageObservation, PixelNormal, leading
from notmiwae.integration import Discretised, Drawn, MissingCells
from notmiwae.mechanisms import FactorisedMechanism
from notmiwae.model import ImportanceSample, LatentVariableModel


class ImageModel(LatentVariableModel):
    """p(z) p(x | z) p(s | x) for images, with proposal q(z | x_o).

    Parameters
    ----------
    encoder, observation, mechanism, integrate
        See `LatentVariableModel`; 'auto' also integrates with a pixelwise mechanism.
    """

    observation: ImageObservation
    frozen = False

    def __init__(
        self, encoder: Any, observation: Any, mechanism: Any, integrate: str = "auto"
    ) -> None:
        super().__init__(encoder, observation, mechanism, integrate)
        self.pixelwise = isinstance(mechanism, Pixelwise) and integrate == "auto"
        self.integrated = self.integrated or self.pixelwise

    def freeze(self) -> None:
        """Keep p(x | z) as it is in further training."""
        self.observation.requires_grad_(False)
        self.frozen = True

    def train(self, mode: bool = True) -> ImageModel:
        """Set the mode of training; a frozen decoder's normalisation stays as it is."""
        super().train(mode)
        if self.frozen:
            self.observation.eval()
        return self

    def likelihood(self, latents: Tensor, x: Tensor, mask: Tensor) -> Conditional:
        """Return p(x_j | x_o, z), given the observed channels of each cell's pixel."""
        distribution: Any = self.observation(latents)
        if isinstance(distribution, PixelNormal):
            return distribution.given(x, mask)
        values, drawn = x, None
        if self.pixelwise:
            drawn = ~mask.bool() & ~self.alone(mask)
            draws = distribution.rsample() if drawn.any() else x
            values, drawn = torch.where(drawn, draws, x), drawn if drawn.any() else None
        return Conditional(distribution.loc, distribution.scale, values, drawn)

    def alone(self, mask: Tensor) -> Tensor:
        """Return the one missing cell of each pixel that is not drawn, ``(N, D)``."""
        seen = mask.bool().unflatten(-1, (self.observation.image_shape.channels, -1))
        return torch.stack(leading(list(seen.unbind(-2))), dim=-2).flatten(-2)

    def explain(
        self, likelihood: Conditional, x: Tensor, mask: Tensor
    ) -> tuple[MissingCells, Tensor]:
        """Return p(x | z, x_o, s), and log p(s | x_o, z) per cell, or an estimate."""
        if self.pixelwise:
            missing = PixelCells(self, likelihood, mask)
            return missing, missing.log_mechanism
        values = likelihood.values
        if self.integrated:
            assert isinstance(self.mechanism, FactorisedMechanism)
            tilted = self.mechanism.tilt(self.observation, likelihood, x, mask)
            done = ~mask.bool() if likelihood.drawn is None else ~mask.bool() & ~likelihood.drawn
            rest = self.mechanism(values).log_prob(mask)
            log_mechanism = torch.where(done, tilted.log_normaliser, rest)
            return WithDraws.of(tilted, likelihood), log_mechanism
        draws = likelihood.rsample()
        if likelihood.drawn is not None:
            draws = torch.where(likelihood.drawn, values, draws)
        completed = torch.where(mask.bool(), x, draws)
        return Drawn(draws), self.mechanism(completed).log_prob(mask)

    def resumable(self, sample: ImportanceSample) -> Tensor:
        """Return latents, and the draws within pixels that a weight depends on, if any."""
        likelihood: Any = sample.likelihood
        if not self.integrated or likelihood.drawn is None:
            return super().resumable(sample)
        return torch.cat([sample.latents, likelihood.values], dim=-1)

    def complete(self, remembered: Tensor, x: Tensor, mask: Tensor) -> Tensor:
        """Draw values; see `LatentVariableModel.complete`."""
        if not self.integrated:
            return remembered
        latents, known = remembered, mask
        if remembered.shape[-1] > x.shape[-1]:
            latents, values = remembered.tensor_split([-x.shape[-1]], dim=-1)
            alone = self.alone(mask)
            x, known = torch.where(alone, torch.zeros(()).to(x), values), (~alone).to(mask)
        likelihood = self.likelihood(latents, x * known, known)
        return torch.where(known.bool(), x, self.explain(likelihood, x, mask)[0].sample())


class WithDraws:
    """Missing cells, some of which are draws that the rest was conditioned on.

    Parameters
    ----------
    rest : MissingCells
    drawn : Tensor
        Where cells are draws ``(N, D)``.
    values : Tensor
        The draws ``(..., N, D)``.
    """

    def __init__(self, rest: MissingCells, drawn: Tensor, values: Tensor) -> None:
        self.rest, self.drawn, self.values = rest, drawn, values
        self.width, self.log_normaliser = rest.width, rest.log_normaliser

    @classmethod
    def of(cls, rest: MissingCells, likelihood: Conditional) -> MissingCells:
        """Wrap, if there are draws."""
        return rest if likelihood.drawn is None else cls(rest, likelihood.drawn, likelihood.values)

    @property
    def mean(self) -> Tensor:
        """E[x | z, x_o, s], or the draw."""
        return torch.where(self.drawn, self.values, self.rest.mean)

    def sample(self) -> Tensor:
        """One draw of x for every cell."""
        return torch.where(self.drawn, self.values, self.rest.sample())


class PixelCells:
    """Missing channels under a pixelwise mechanism, one per pixel integrated by quadrature.

    Parameters
    ----------
    model : ImageModel
    likelihood : Conditional
    mask : Tensor
        ``(N, D)``.
    """

    def __init__(self, model: ImageModel, likelihood: Conditional, mask: Tensor) -> None:
        mechanism: Any = model.mechanism
        n_channels = mechanism.image_shape.channels
        self.cells = model.alone(mask).flatten().nonzero().squeeze(-1)
        n_pixels = mask.shape[-1] // n_channels
        rows = self.cells // mask.shape[-1]
        channels = self.cells % mask.shape[-1] // n_pixels
        pixels = self.cells % n_pixels
        self.values = likelihood.values.clamp(0, 1)
        values, seen = by_pixel(self.values, n_channels), by_pixel(mask, n_channels)
        loc, scale = self.pick(likelihood.loc), self.pick(likelihood.scale)
        distribution = Normal(loc, scale, validate_args=False)
        nodes, log_weights = model.observation.nodes(distribution)
        here = torch.arange(n_channels, device=mask.device) == channels.unsqueeze(-1)
        trial = torch.where(here, nodes.unsqueeze(-1), values[..., rows, pixels, :])
        log_mask = mechanism.link(mechanism.score(trial)).log_prob(seen[rows, pixels])
        self.tilted = Discretised(nodes, log_weights, log_mask.sum(-1), continuous=True)
        complete = seen.bool().all(-1, keepdim=True).expand_as(seen).movedim(-1, -2).flatten(-2)
        self.elsewhere = mechanism(self.values).log_prob(mask) * complete
        self.width = -(-len(nodes) * mechanism.bend[0].out_features // n_channels)

    def pick(self, cells: Tensor) -> Tensor:
        """Take the integrated cells of ``(..., N, D)``, ``(..., M)``."""
        return cells.flatten(-2)[..., self.cells]

    def put(self, whole: Tensor, part: Tensor) -> Tensor:
        """Replace the integrated cells of ``(..., N, D)``."""
        flat = whole.expand(*part.shape[:-1], *whole.shape[-2:]).flatten(-2)
        return flat.index_copy(-1, self.cells, part).unflatten(-1, whole.shape[-2:])

    @property
    def log_mechanism(self) -> Tensor:
        """Log p(s | x_o, z), a pixel's at its integrated cell."""
        return self.put(self.elsewhere, self.tilted.log_normaliser)

    @property
    def log_normaliser(self) -> Tensor:
        """Log p(s | x_o, z) of the integrated cells' pixels, 0 elsewhere."""
        return self.put(torch.zeros_like(self.elsewhere), self.tilted.log_normaliser)

    @property
    def mean(self) -> Tensor:
        """E[x | z, x_o, s], or the draw."""
        return self.put(self.values, self.tilted.mean)

    def sample(self) -> Tensor:
        """One draw of x for every cell."""
        return self.put(self.values, self.tilted.sample())
