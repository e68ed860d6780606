"""Rubin's rules: one estimate from the analyses of several completed tables.

Of m completed tables, each gives an estimate Q_i and its variance U_i, as if it were complete.
With their means Q̄ and Ū, and B = Σ (Q_i - Q̄)² / (m - 1), the pooled estimate Q̄ has variance

    T = Ū + (1 + 1/m) B,       λ = (1 + 1/m) B / T,       r = (1 + 1/m) B / Ū

(Rubin, 1987, eq. 3.1.5 to 3.1.8): what is due to sampling, and what is due to missing values. An
interval is Q̄ ± t_ν √T, with the degrees of freedom of Barnard & Rubin (1999, eq. 3),

    1/ν = 1/ν_m + 1/ν_o,    ν_m = (m - 1) / λ²,    ν_o = (1 - λ) ν_c (ν_c + 1) / (ν_c + 3),

which never exceed those of the complete table, ν_c. The fraction of missing information, what the
holes cost, is (r + 2 / (ν_m + 3)) / (1 + r) (Rubin, 1987, eq. 3.1.10).

The variance T is right if draws are *proper*: if they vary with what is not known of the model,
too, as those of `notmiwae.NotMIWAEImputer` do with ``bootstrap=True`` and a model per draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from notmiwae.validation import check_number

Floats = NDArray[np.float64]


class Analyses(NamedTuple):
    """What m analyses say of P parameters.

    Attributes
    ----------
    estimates, variances : array of shape (m, P)
    names : list
        Of the parameters.
    complete_df : float
        Degrees of freedom that a complete table would leave.
    """

    estimates: Floats
    variances: Floats
    names: list[Any]
    complete_df: float = np.inf


def pool(
    analyses: Any,
    variances: ArrayLike | Callable[[Any], Any] | None = None,
    *,
    complete_df: float | None = None,
    coverage: float = 0.95,
    null: float = 0.0,
) -> pd.DataFrame:
    """Combine the analyses of completed tables by Rubin's rules.

    Parameters
    ----------
    analyses : sequence
        One of three: estimates ``(m,)`` or ``(m, P)``, with `variances`; results of statsmodels
        models (anything with ``params`` and ``cov_params()``); or, with a function as the second
        argument, completed tables, such as the draws of `notmiwae.NotMIWAEImputer.sample`.
    variances : array or callable, optional
        Squared standard errors of the shape of the estimates, or covariances ``(m, P, P)``. Or a
        function from a table to its analysis: to results of a statsmodels model, or to a pair
        (estimates, variances), each a number, an array or a Series, or to these and the degrees of
        freedom.
    complete_df : float, optional
        Degrees of freedom of an analysis of a complete table, such as N - 1 for a mean. By default
        those that results state as ``df_resid``, else infinite, for large tables.
    coverage : float
        Of the intervals, between 0 and 1.
    null : float
        The value that p-values are about.

    Returns
    -------
    DataFrame
        One line per parameter: ``estimate``, ``std_error``, ``low`` and ``high``, the ends of the
        interval, ``p_value`` (two-sided), ``df``, ``fmi``, the fraction of missing information, and
        ``riv``, the relative increase in variance due to the holes.

    Raises
    ------
    ValueError
        If there are fewer than two analyses, or they do not fit together.

    References
    ----------
    .. [1] Rubin, "Multiple Imputation for Nonresponse in Surveys", 1987.
    .. [2] Barnard & Rubin, "Small-sample degrees of freedom with multiple imputation", Biometrika
       86, 1999.

    Examples
    --------
    >>> from notmiwae import pool
    >>> pooled = pool([10.2, 9.8, 10.6], [0.25, 0.24, 0.26], complete_df=99)
    >>> float(pooled.loc[0, "std_error"].round(2))
    0.68
    """
    check_number("coverage", coverage, above=0, below=1)
    if complete_df is not None and complete_df != np.inf:
        check_number("complete_df", complete_df, above=0)
    found = read_analyses(analyses, variances)
    df = found.complete_df if complete_df is None else complete_df
    return rubin(found, df, coverage, null)


def rubin(found: Analyses, complete_df: float, coverage: float, null: float) -> pd.DataFrame:
    """Return the table of `pool`."""
    m = len(found.estimates)
    estimate, within = found.estimates.mean(0), found.variances.mean(0)
    spread = (1 + 1 / m) * found.estimates.var(0, ddof=1)
    total = within + spread
    std_error = np.sqrt(total)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(total > 0, spread / total, 0.0)
        riv = np.where(spread > 0, spread / within, 0.0)
        df_draws = (m - 1) / share**2
        fmi = np.where(np.isinf(riv), 1.0, (riv + 2 / (df_draws + 3)) / (1 + riv))
        df = 1 / (1 / df_draws + 1 / observed_df(share, complete_df))
        statistic = np.abs(estimate - null) / std_error
    reach = stats.t.ppf((1 + coverage) / 2, df) * std_error
    return pd.DataFrame(
        {
            "estimate": estimate,
            "std_error": std_error,
            "low": estimate - reach,
            "high": estimate + reach,
            "p_value": 2 * stats.t.sf(statistic, df),
            "df": df,
            "fmi": fmi,
            "riv": riv,
        },
        index=found.names,
    )


def observed_df(share: Floats, complete_df: float) -> Floats:
    """Return ν_o: infinite for a large table, even where all is missing."""
    if np.isinf(complete_df):
        return np.full(share.shape, np.inf)
    return (1 - share) * complete_df * (complete_df + 1) / (complete_df + 3)


def read_analyses(analyses: Any, variances: Any = None) -> Analyses:
    """Take what `pool` takes."""
    if callable(variances):
        return combine(variances(table) for table in analyses)
    if variances is None:
        return combine(analyses)
    estimates, given = (np.asarray(part, dtype=float) for part in (analyses, variances))
    if not 1 <= estimates.ndim <= 2 or estimates.shape[:1] != given.shape[:1]:
        raise ValueError(
            "estimates must have shape (m,) or (m, P) and variances the same, or (m, P, P), for m "
            f"analyses; got shapes {estimates.shape} and {given.shape}"
        )
    columns = getattr(analyses, "columns", None)
    found = combine(zip(estimates, given, strict=True))
    return found if columns is None else found._replace(names=list(columns))


def combine(analyses: Iterable[Any]) -> Analyses:
    """Bring together analyses that are results of models, or pairs."""
    each = [read_analysis(analysis) for analysis in analyses]
    if len(each) < 2:
        raise ValueError(
            f"pooling needs the analyses of at least two completed tables; got {len(each)}: draw "
            "more, with sample(X, n_draws=20)"
        )
    names = each[0].names
    if any(one.names != names for one in each):
        raise ValueError(
            "all analyses must have the same parameters in the same order; got "
            f"{next(one.names for one in each if one.names != names)} beside {names}"
        )
    estimates = np.stack([one.estimates for one in each])
    spreads = np.stack([one.variances for one in each])
    if not (np.isfinite(estimates).all() and np.isfinite(spreads).all() and (spreads >= 0).all()):
        raise ValueError(
            "estimates must be finite and variances not negative: look at the analyses one by one"
        )
    return Analyses(estimates, spreads, names, min(one.complete_df for one in each))


def read_analysis(analysis: Any) -> Analyses:
    """Read the results of a model, or a pair of estimates and variances: arrays ``(P,)``."""
    if hasattr(analysis, "cov_params"):
        df = getattr(analysis, "df_resid", np.inf) if getattr(analysis, "use_t", True) else np.inf
        return _one(analysis.params, analysis.cov_params(), df)
    if isinstance(analysis, Sequence) and not isinstance(analysis, str) and len(analysis) in (2, 3):
        return _one(*analysis)
    raise ValueError(
        "an analysis must be the results of a statsmodels model, or a pair (estimates, variances); "
        f"got {type(analysis).__name__}"
    )


def _one(estimates: Any, variances: Any, df: float | None = None) -> Analyses:
    values = np.atleast_1d(np.asarray(estimates, dtype=float))
    spreads = np.atleast_1d(np.asarray(variances, dtype=float))
    if spreads.shape == (*values.shape, *values.shape):
        spreads = spreads.diagonal()
    if values.ndim != 1 or spreads.shape != values.shape:
        raise ValueError(
            "the variances of P estimates must have shape (P,) or, covariances, (P, P); got "
            f"{np.shape(variances)} for estimates of shape {np.shape(estimates)}"
        )
    names = list(estimates.index if isinstance(estimates, pd.Series) else range(len(values)))
    return Analyses(values, spreads, names, np.inf if df is None else float(df))
