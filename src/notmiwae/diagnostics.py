"""What a fitted model says of itself: can its imputations be trusted, and why do values go missing.

The imputation of a row rests on K weighted draws. Their effective sample size (Σw)²/Σw² says on
how many; the shape k̂ of the generalised Pareto distribution that fits the largest weights says
whether their average converges at all (Vehtari, Simpson, Gelman, Yao & Gabry, JMLR 2024: beyond
0.7 it does not, for practical purposes). Neither sees whether the *model* is right: models of an
ensemble that disagree are a sign that the data do not settle it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from notmiwae.imputation import Accumulator, Models, conditional_mean, stream
from notmiwae.kinds import Kind, Labels
from notmiwae.model import ImportanceSample, LatentVariableModel

EQUAL = 1e-3
"""Log weights that differ less are equal: they have no tail."""
PARETO_K = 0.7
"""Averages do not converge beyond this shape."""
EFFECTIVE_DRAWS = 10.0
"""Fewer make a shaky average."""
DISAGREEMENT = 0.5
"""Standard deviation between models, in those of the observed values, that is a lot."""
MANY_ROWS = 0.05
"""A share of rows worth a warning."""
VISIBLE = 0.1
"""A curve of probabilities that varies less than this has no visible direction."""


class WeightTail(Accumulator):
    """Effective sample size and Pareto-k̂ ``(2, N)``; needs all K weights of a block of rows."""

    def __init__(self, model: LatentVariableModel, x: Tensor, mask: Tensor) -> None:
        super().__init__(model, x, mask)
        self.log_weights: list[Tensor] = []

    def fold(self, sample: ImportanceSample, share: Tensor) -> None:
        self.log_weights.append(sample.log_weights)

    def result(self) -> Tensor:
        log_weights = torch.cat(self.log_weights).double()
        total, squares = log_weights.logsumexp(0), (2 * log_weights).logsumexp(0)
        shape = pareto_k(log_weights.cpu().numpy())
        return torch.stack([(2 * total - squares).exp().cpu(), torch.from_numpy(shape)])


def pareto_k(log_weights: np.ndarray) -> np.ndarray:
    """Return k̂ of each row's weights ``(N,)`` for log weights ``(K, N)``; NaN without arviz-stats.

    Rows whose weights are all equal have no tail, and -inf.
    """
    if find_spec("arviz_stats") is None:
        return np.full(log_weights.shape[1], np.nan)
    from arviz_stats.base import array_stats  # type: ignore[attr-defined]

    flat = np.ptp(log_weights, axis=0) < EQUAL
    shape = np.full(log_weights.shape[1], -np.inf)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not flat.all():
            # It takes log likelihoods, whose negatives are the log weights.
            shape[~flat] = array_stats.psislw(-log_weights[:, ~flat], axis=0)[1]
    return shape


def examine(
    streamed: Callable[..., Callable[..., Tensor]], values: Tensor, mask: Tensor
) -> pd.DataFrame:
    """Return the table of `notmiwae.NotMIWAEImputer.diagnose`, and warn where it is bad.

    Parameters
    ----------
    streamed : callable
        Binds models and settings to a function of `notmiwae.imputation` or to `tails` here.
    values, mask : Tensor
        ``(N, D)``.
    """
    holes = (1 - mask).sum(1).numpy().astype(int)
    effective, shape = streamed(tails)(values, mask).numpy()
    between = streamed(disagreement)(values, mask).numpy()
    bad = (effective < EFFECTIVE_DRAWS) | (shape > PARETO_K) | (between > DISAGREEMENT)
    table = pd.DataFrame(
        {
            "n_missing": holes,
            "effective_sample_size": effective,
            "pareto_k": shape,
            "disagreement": between,
            "trusted": ~(bad & (holes > 0)),
        }
    )
    if (share := 1 - table["trusted"].mean()) > MANY_ROWS:
        warnings.warn(_complaint(share, table), UserWarning, stacklevel=3)
    return table


def _complaint(share: float, table: pd.DataFrame) -> str:
    causes = {
        "their importance weights are dominated by a few draws: raise n_impute_samples": (
            table["effective_sample_size"] < EFFECTIVE_DRAWS
        )
        | (table["pareto_k"] > PARETO_K),
        "models disagree, so that the data do not settle what is missing: state what is known of "
        "the mechanism, and report a sensitivity analysis": table["disagreement"] > DISAGREEMENT,
    }
    reasons = "; ".join(text for text, rows in causes.items() if (rows & ~table["trusted"]).any())
    return f"the imputations of {share:.0%} of the rows should not be trusted: {reasons}"


def tails(models: Models, x: Tensor, mask: Tensor, n_samples: int, **options: Any) -> Tensor:
    """Return effective sample size and Pareto-k̂ of every row ``(2, N)``: the worst of an ensemble.

    Parameters
    ----------
    models, x, mask, n_samples, **options
        See `notmiwae.imputation.stream`.
    """
    worst = torch.tensor([torch.inf, -torch.inf], dtype=torch.double).unsqueeze(-1)
    for model in models:
        each = torch.cat(stream(model, x, mask, n_samples, WeightTail, **options), dim=1)
        worst = torch.stack([torch.minimum(worst[0], each[0]), torch.maximum(worst[1], each[1])])
    return worst


def disagreement(models: Models, x: Tensor, mask: Tensor, n_samples: int, **options: Any) -> Tensor:
    """Return how far apart the models' imputations of a row are ``(N,)``; NaN for one model.

    The root of the mean square over its missing cells of the standard deviation between models.
    """
    if len(models) == 1:
        return torch.full(x.shape[:1], torch.nan)
    means = torch.stack(
        [conditional_mean([model], x, mask, n_samples, **options) for model in models]
    )
    missing = 1 - models[0].observation.widen(mask)
    return ((means.var(0) * missing).sum(1) / missing.sum(1).clamp_min(1)).sqrt()


def missing_curve(models: Models, n_features: int, column: int, values: Tensor) -> Tensor:
    """Return the learned probability ``(len(models), V)`` that a column's `values` are missing.

    The other columns are at zero, the mean of their observed values.

    Parameters
    ----------
    models : sequence of LatentVariableModel
    n_features, column : int
        D, and which of these.
    values : Tensor
        In the model's units ``(V,)``.
    """
    with torch.no_grad():
        curves = []
        for model in models:
            x = torch.zeros(len(values), n_features, device=model.device)
            x[:, column] = values.to(model.device)
            curves.append(1 - model.mechanism(model.inward(x)).mean[:, column].cpu())
        return torch.stack(curves)


def summarise(
    models: Models,
    shares: pd.Series,
    mean: np.ndarray,
    std: np.ndarray,
    kinds: Sequence[Kind],
) -> pd.DataFrame:
    """Return the table of `notmiwae.NotMIWAEImputer.mechanism_summary`.

    Parameters
    ----------
    models : sequence of LatentVariableModel
    shares : Series
        Share of missing values by name of column.
    mean, std : array of shape (D,)
        Of the observed values.
    kinds : sequence of Kind
        Of the columns.
    """
    lines: dict[Any, dict[str, Any]] = {}
    for column, (name, share) in enumerate(shares.items()):
        kind = kinds[column]
        if not share:
            continue
        if isinstance(kind, Labels):
            codes = torch.arange(kind.first, kind.first + kind.n_codes)
            values = (codes.double() - mean[column]) / std[column]
            curves = missing_curve(models, len(mean), column, values.float())
            lines[name] = {"share": share, **by_label(curves, kind.levels)}
            continue
        curves = missing_curve(models, len(mean), column, torch.tensor([-2.0, 0.0, 2.0]))
        low, middle, high = curves.mean(0).tolist()
        slope, threshold = straight_line(models, column)
        lines[name] = {
            "share": share,
            "finding": direction(low, middle, high),
            "at_low": low,
            "at_mean": middle,
            "at_high": high,
            "threshold": float(kind.numbers(np.array(threshold * std[column] + mean[column]))),
            "slope": slope,
            "spread": between(curves),
        }
    return pd.DataFrame.from_dict(lines, orient="index")


def between(curves: Tensor) -> float:
    """Return the largest standard deviation between models; NaN for one model."""
    return curves.std(0).max().item() if len(curves) > 1 else np.nan


def by_label(curves: Tensor, labels: Sequence[Any]) -> dict[str, Any]:
    """Describe the probabilities ``(len(models), C)`` that a column's labels are missing."""
    probabilities = curves.mean(0)
    most, least = int(probabilities.argmax()), int(probabilities.argmin())
    said = (
        f"{labels[most]!r} goes missing most often ({probabilities[most]:.0%}), "
        f"{labels[least]!r} least ({probabilities[least]:.0%})"
    )
    if probabilities.isnan().any():
        said = "not modelled"
    elif probabilities.max() - probabilities.min() < VISIBLE:
        said = "no visible dependence on the value"
    unknown = dict.fromkeys(["at_low", "at_mean", "at_high", "threshold", "slope"], np.nan)
    return {"finding": said, **unknown, "spread": between(curves)}


@torch.no_grad()
def straight_line(models: Models, column: int) -> tuple[float, float]:
    """Return slope and threshold of a column's score, averaged; NaN if it is no straight line.

    Of a skewed column, the slope between one standard deviation below the mean and one above it.
    """
    straight = [model for model in models if model.mechanism.line is not None]
    if not straight:
        return np.nan, np.nan
    lines = torch.stack([model.mechanism.line for model in straight])  # type: ignore[misc]
    slope, intercept = lines[..., column].mean(0)

    def average(value: Any, translated: Callable[[LatentVariableModel, Tensor], Tensor]) -> float:
        row = torch.full_like(lines[0, 0], value)
        found = [translated(model, row.to(model.device))[column] for model in straight]
        return torch.stack(found).mean().item()

    low, high = (average(x, lambda model, row: model.inward(row)) for x in (-1.0, 1.0))
    if not slope:
        return 0.0, np.nan
    threshold = average(-intercept / slope, lambda model, row: model.outward(row))
    return slope.item() * (high - low) / 2, threshold


def direction(low: float, middle: float, high: float) -> str:
    """Say which values go missing, given the probabilities at three of them."""
    curve = np.array([low, middle, high])
    if np.isnan(curve).any():
        return "not modelled"
    if np.ptp(curve) < VISIBLE:
        return "no visible dependence on the value"
    if middle > max(low, high) + VISIBLE:
        return "middle values go missing"
    if middle < min(low, high) - VISIBLE:
        return "extreme values go missing"
    return "high values go missing" if high > low else "low values go missing"
