"""What torch lacks of the Gaussian distribution.

The inverse of log Φ, for tails that underflow when written as Φ; log Φ and draws by which models
that are stacked can be trained (`notmiwae.stacking`), since ``torch.vmap`` knows neither torch's
log Φ nor a draw that is filled in place.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal, StudentT
from torch.special import erfcx, ndtri

LOG_ROOT_2_PI = 0.5 * math.log(2 * math.pi)


class _Elementwise(torch.autograd.Function):
    """A function of one argument that `torch.vmap` passes through."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple[int | None], x: Tensor) -> tuple[Tensor, int | None]:
        return cls.apply(x), in_dims[0]


class _LogNdtr(_Elementwise):
    """Log Φ; its derivative is φ/Φ."""

    @staticmethod
    def forward(score: Tensor) -> Tensor:
        return torch.special.log_ndtr(score)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        [score] = ctx.saved_tensors
        return gradient * inverse_mills(score)


class _LogSigmoid(_Elementwise):
    """-log(1 + exp(-score)); its derivative is 1 / (1 + exp(score))."""

    @staticmethod
    def forward(score: Tensor) -> Tensor:
        return torch.nn.functional.logsigmoid(score)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        [score] = ctx.saved_tensors
        return gradient * (-score).sigmoid_()


def log_ndtr(score: Tensor) -> Tensor:
    """Return log Φ."""
    result: Tensor = _LogNdtr.apply(score)
    return result


def log_sigmoid(score: Tensor) -> Tensor:
    """Return -log(1 + exp(-score))."""
    result: Tensor = _LogSigmoid.apply(score)
    return result


def inverse_mills(score: Tensor) -> Tensor:
    """Return φ/Φ, in a form whose digits do not cancel in the tail."""
    # Clamped where it is zero, and where erfcx would overflow.
    return math.sqrt(2 / math.pi) / erfcx((-score / math.sqrt(2)).clamp_min(-9))


class StackableNormal(Normal):
    """N(loc, scale²)."""

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw, differentiably."""
        shape = self._extended_shape(torch.Size(sample_shape))
        return self.loc + torch.randn(shape).to(self.loc) * self.scale

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw."""
        with torch.no_grad():
            return self.rsample(sample_shape)


class StackableStudentT(StudentT):
    """loc + scale · t with `df` degrees of freedom."""

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw, differentiably."""
        shape = self._extended_shape(torch.Size(sample_shape))
        normal = torch.randn(shape).to(self.loc)
        gamma = torch._standard_gamma((0.5 * self.df).expand(shape))
        spread = (0.5 * self.df / gamma.clamp_min(torch.finfo(gamma.dtype).tiny)).sqrt()
        return self.loc + self.scale * normal * spread


def log_density(score: Tensor) -> Tensor:
    """Log density of N(0, 1)."""
    return -0.5 * score.square() - LOG_ROOT_2_PI


def ndtri_exp(log_p: Tensor) -> Tensor:
    """Return Φ⁻¹(exp(log_p)) for ``log_p <= 0``, in double precision and differentiably.

    In the far tail by Newton's method from the left, which is monotone since log Φ is concave.
    """
    log_p = log_p.double()
    near = log_p > -20
    central = ndtri(torch.where(near, log_p, -1.0).exp().clamp_max(1 - 1e-15))
    target = torch.where(near, -20.0, log_p)
    tail = -(-2 * target.detach()).sqrt()
    for _ in range(6):
        tail = tail.detach()
        logarithm = log_ndtr(tail)
        tail = tail + (target - logarithm) * (logarithm - log_density(tail)).exp()
    return torch.where(near, central, tail)
