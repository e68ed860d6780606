"""The inverse of log Φ, which torch lacks: Gaussian tails that underflow when written as Φ."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.special import log_ndtr, ndtri

LOG_ROOT_2_PI = 0.5 * math.log(2 * math.pi)


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
