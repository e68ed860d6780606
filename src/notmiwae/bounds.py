"""Bounds: functions from log weights ``(K, N)`` to one value per row ``(N,)``.

With ``w_k`` the importance weights of `notmiwae.model`, the importance-weighted bound

    L_K = E[log 1/K Σ_k w_k] ≤ log p(x_o, s)

tightens as K grows (Burda et al., 2016; Ipsen et al., 2021, eq. 8). The log-sum-exp runs over the
K samples of one row, never over rows.
"""

from __future__ import annotations

import math

from torch import Tensor


def importance_weighted(log_weights: Tensor) -> Tensor:
    """Return log 1/K Σ_k w_k for log weights ``(K, N)``."""
    return log_weights.logsumexp(0) - math.log(log_weights.shape[0])


def evidence_lower_bound(log_weights: Tensor) -> Tensor:
    """Return 1/K Σ_k log w_k for log weights ``(K, N)``: the bound of a plain autoencoder."""
    return log_weights.mean(0)
