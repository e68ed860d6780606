"""Encoders: the proposal q(z | x_o), a Gaussian that sees observed values only.

Whatever stands in ``x`` under the mask never reaches the distribution. The published encoder fills
missing cells with zeros (`ZeroFill`); others tell a missing cell from an observed zero: by the
mask as a second input, by a learned fill value, or by a sum over the observed cells only
(Ma et al., EDDI, ICML 2019). These are diagonal Gaussians whose moments a network must guess.

`ProductOfExperts` has the form that the posterior of a linear model has,

    q(z | x_o) ∝ N(z; 0, Λ(x_o)⁻¹) exp(h(x_o)·z) Π_j exp(-½ ρ_j (v_j - w_j·z)²),

one expert per cell: with v_j the observed value less a learned offset and a learned precision ρ_j,
or, for a missing cell, with both guessed by a network of what is observed. With a linear decoder
and nothing missing it is exact; the network mends the rest (Λ, h) from there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal
from torch.nn.functional import softplus

from notmiwae._special import StackableNormal, log_density
from notmiwae.networks import mlp


class Encoder(nn.Module, ABC):
    """q(z | x_o), with batch shape ``(N,)`` and event shape ``(L,)``."""

    @abstractmethod
    def forward(self, x: Tensor, mask: Tensor) -> Distribution:
        """Return q(z | x_o) for zero-filled values and mask ``(N, D)``."""


class DiagonalEncoder(Encoder):
    """q(z | x_o) = N(m(x_o), diag s(x_o)²).

    Parameters
    ----------
    n_features, n_latent : int
        D and L.
    hidden : sequence of int
        Widths of the hidden layers.
    activation : str
        Nonlinearity, see `notmiwae.networks.ACTIVATIONS`.
    """

    scale_floor = 1e-4

    def __init__(
        self,
        n_features: int,
        n_latent: int,
        hidden: Sequence[int] = (128, 128),
        activation: str = "tanh",
    ) -> None:
        super().__init__()
        self.n_latent = n_latent
        self.network = mlp(self.n_inputs(n_features), 2 * n_latent, hidden, activation)

    @staticmethod
    @abstractmethod
    def n_inputs(n_features: int) -> int:
        """Width of what `summarise` returns."""

    @abstractmethod
    def summarise(self, x: Tensor, mask: Tensor) -> Tensor:
        """Turn values and mask ``(N, D)`` into the network's input ``(N, n_inputs)``."""

    def forward(self, x: Tensor, mask: Tensor) -> Independent:
        loc, raw_scale = self.network(self.summarise(x, mask)).chunk(2, dim=-1)
        scale = softplus(raw_scale) + self.scale_floor
        return Independent(StackableNormal(loc, scale, validate_args=False), 1, validate_args=False)


class ZeroFill(DiagonalEncoder):
    """Missing cells enter as zeros, the columns' mean (as published)."""

    @staticmethod
    def n_inputs(n_features: int) -> int:
        return n_features

    def summarise(self, x: Tensor, mask: Tensor) -> Tensor:
        return x * mask


class MaskConcatenating(DiagonalEncoder):
    """Missing cells enter as zeros, and the mask beside them."""

    @staticmethod
    def n_inputs(n_features: int) -> int:
        return 2 * n_features

    def summarise(self, x: Tensor, mask: Tensor) -> Tensor:
        return torch.cat([x * mask, mask], dim=-1)


class LearnableFill(DiagonalEncoder):
    """Missing cells enter as a learned value per column."""

    def __init__(
        self,
        n_features: int,
        n_latent: int,
        hidden: Sequence[int] = (128, 128),
        activation: str = "tanh",
    ) -> None:
        super().__init__(n_features, n_latent, hidden, activation)
        self.fill = nn.Parameter(torch.zeros(n_features))

    @staticmethod
    def n_inputs(n_features: int) -> int:
        return n_features

    def summarise(self, x: Tensor, mask: Tensor) -> Tensor:
        return x * mask + self.fill * (1 - mask)


class PermutationInvariant(DiagonalEncoder):
    """A sum of embeddings of the observed cells, so that a missing one leaves no trace (EDDI).

    Each observed cell contributes ``relu(h([x_d, x_d e_d, e_d]))`` with a learned embedding
    ``e_d`` of its column and a map h that all columns share.
    """

    n_embedding = 20
    n_summary = 100

    def __init__(
        self,
        n_features: int,
        n_latent: int,
        hidden: Sequence[int] = (128, 128),
        activation: str = "tanh",
    ) -> None:
        super().__init__(n_features, n_latent, hidden, activation)
        self.embedding = nn.Parameter(torch.randn(n_features, self.n_embedding) / 4)
        self.shared = nn.Linear(2 * self.n_embedding + 1, self.n_summary)

    @classmethod
    def n_inputs(cls, n_features: int) -> int:
        return cls.n_summary

    def summarise(self, x: Tensor, mask: Tensor) -> Tensor:
        value = (x * mask).unsqueeze(-1)
        column = self.embedding.expand(*x.shape, -1)
        cells = torch.relu(self.shared(torch.cat([value, value * column, column], dim=-1)))
        return (cells * mask.unsqueeze(-1)).sum(-2)


class ImageEncoder(Encoder):
    """q(z | x_o) of images, whose missing cells enter as zeros (as in the report).

    Parameters
    ----------
    network : nn.Module
        From rows ``(N, D)`` to a mean and a log variance ``(N, 2 L)``.
    """

    least_log_variance = -14.0

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, mask: Tensor) -> Independent:
        loc, log_variance = self.network(x * mask).chunk(2, dim=-1)
        scale = (log_variance.clamp(self.least_log_variance, 14.0) / 2).exp()
        return Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)


class ProductOfExperts(Encoder):
    """One Gaussian expert per cell; see the head of this module.

    Parameters
    ----------
    n_features, n_latent, hidden, activation
        See `DiagonalEncoder`.
    """

    def __init__(
        self,
        n_features: int,
        n_latent: int,
        hidden: Sequence[int] = (128, 128),
        activation: str = "tanh",
    ) -> None:
        super().__init__()
        self.widths = [n_features, n_features, n_latent, n_latent]
        self.direction = nn.Parameter(torch.randn(n_features, n_latent) / (4 * n_latent) ** 0.5)
        self.offset = nn.Parameter(torch.zeros(n_features))
        self.log_precision = nn.Parameter(torch.zeros(n_features))
        self.network = mlp(2 * n_features, sum(self.widths), hidden, activation)
        # Starts near the linear model's posterior: weak experts for missing cells, no correction.
        start = torch.tensor([0.0, -2.0, 0.0, -3.0]).repeat_interleave(torch.tensor(self.widths))
        with torch.no_grad():
            self.network[-1].weight.mul_(0.1)  # type: ignore[operator]
            self.network[-1].bias.copy_(start)  # type: ignore[operator]

    def forward(self, x: Tensor, mask: Tensor) -> PrecisionNormal:
        guessed = self.network(torch.cat([x * mask, mask], dim=-1)).split(self.widths, dim=-1)
        guess, raw_precision, pull, raw_tightening = guessed
        observed = mask.bool()
        value = torch.where(observed, x - self.offset, guess)
        precision = torch.where(observed, self.log_precision.exp(), softplus(raw_precision))
        outer = (self.direction.unsqueeze(-1) * self.direction.unsqueeze(-2)).flatten(1)
        experts = (precision @ outer).unflatten(-1, (self.direction.shape[-1], -1))
        prior = torch.diag_embed(1 + softplus(raw_tightening))
        return PrecisionNormal((precision * value) @ self.direction + pull, prior + experts)


class PrecisionNormal(Distribution):
    """N(P⁻¹ h, P⁻¹) from shift h ``(N, L)`` and precision P ``(N, L, L)``."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True

    def __init__(self, shift: Tensor, precision: Tensor) -> None:
        # In double precision: narrow experts beside a wide prior make it ill-conditioned.
        self.factor = torch.linalg.cholesky(precision.double())
        self.whitened_loc = torch.linalg.solve_triangular(
            self.factor, shift.double().unsqueeze(-1), upper=False
        )
        self.dtype = shift.dtype
        super().__init__(shift.shape[:-1], shift.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean ``(N, L)``."""
        return self._unwhiten(torch.zeros_like(self.whitened_loc)).squeeze(-1)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw ``(*sample_shape, N, L)``, differentiably."""
        return self.draw(sample_shape)[0]

    def draw(self, sample_shape: Any = ()) -> tuple[Tensor, Tensor]:
        """Draw ``(*sample_shape, N, L)``, and return the log densities of the draws, too.

        These follow from the noise, so that nothing has to be solved for them.
        """
        shape = self._extended_shape(torch.Size(sample_shape))
        noise = torch.randn(shape).to(self.factor)
        # One triangular system per row, with all of its draws as right-hand sides.
        columns = noise.flatten(end_dim=-3).movedim(0, -1) if sample_shape else noise.unsqueeze(-1)
        latents = self._unwhiten(columns).movedim(-1, 0).reshape(shape)
        return latents, self._log_density(noise)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density ``(*sample_shape, N)``."""
        departure = (value - self.mean).to(self.factor)
        return self._log_density(torch.einsum("nij,...ni->...nj", self.factor, departure))

    def _unwhiten(self, noise: Tensor) -> Tensor:
        """Return the values ``(N, L, S)`` that standard normal ones stand for."""
        whitened = self.whitened_loc + noise
        return torch.linalg.solve_triangular(self.factor.mT, whitened, upper=True).to(self.dtype)

    def _log_density(self, noise: Tensor) -> Tensor:
        log_root = self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return (log_root + log_density(noise).sum(-1)).to(self.dtype)


def draw(proposal: Any, n_samples: int) -> tuple[Tensor, Tensor]:
    """Return latents ``(K, N, L)`` and their log densities ``(K, N)`` under a proposal."""
    if isinstance(proposal, PrecisionNormal):
        return proposal.draw((n_samples,))
    latents = proposal.rsample((n_samples,))
    return latents, proposal.log_prob(latents)


ENCODERS: dict[str, type[Encoder]] = {
    "zero-fill": ZeroFill,
    "mask-concatenating": MaskConcatenating,
    "learnable-fill": LearnableFill,
    "permutation-invariant": PermutationInvariant,
    "product-of-experts": ProductOfExperts,
}
