"""From a survey with holes to tables to analyse: a smaller one, or several completed ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer

from notmiwae import NotMIWAEImputer

N_DRAWS = 10
DONORS = 5

SMALL: dict[str, Any] = {
    "decoder": "linear",
    "bootstrap": True,
    "n_models": N_DRAWS,
    "max_steps": 100,
    "batch_size": 100,
    "learning_rate": 5e-2,
    "validation_fraction": 0.0,
    "n_impute_samples": 100,
    "device": "cpu",
}
"""A small, fast model: what these data need, chosen by how near it comes to maximum likelihood."""


def complete_cases(holes: pd.DataFrame, seed: int) -> list[pd.DataFrame]:
    """Leave out the rows with a hole."""
    return [holes.dropna()]


def mice(holes: pd.DataFrame, seed: int) -> list[pd.DataFrame]:
    """Chained equations as statsmodels has them: parameters drawn, then the mean matched."""
    try:
        from statsmodels.imputation.mice import MICEData
    except ImportError as error:
        raise ImportError("MICE needs an extra: pip install 'notmiwae[studies]'") from error
    chain = MICEData(holes, k_pmm=DONORS, rng=seed)
    tables = []
    for _ in range(N_DRAWS):
        chain.update_all()
        tables.append(chain.data.copy())
    return tables


def normal_mice(holes: pd.DataFrame, seed: int) -> list[pd.DataFrame]:
    """Chained linear regressions with normal noise, each table's of a bootstrap sample."""
    rng = np.random.default_rng(seed)
    tables = []
    for _ in range(N_DRAWS):
        number = int(rng.integers(2**31))
        chain = IterativeImputer(sample_posterior=True, max_iter=1, random_state=number)
        sample = holes.iloc[rng.integers(len(holes), size=len(holes))]
        chain.fit(sample)
        tables.append(pd.DataFrame(chain.transform(holes), columns=holes.columns))
    return tables


def not_miwae(holes: pd.DataFrame, seed: int) -> list[pd.DataFrame]:
    """not-MIWAE, a bootstrap ensemble: incomes are missing by what they are, the data say how."""
    imputer = NotMIWAEImputer("self-masking", **SMALL, random_state=seed)
    draws = imputer.fit(holes).sample(holes, N_DRAWS)
    return [pd.DataFrame(draw, columns=holes.columns) for draw in draws]


METHODS: dict[str, Callable[[pd.DataFrame, int], list[pd.DataFrame]]] = {
    "complete cases": complete_cases,
    "MICE": mice,
    "MICE, normal model": normal_mice,
    "not-MIWAE self-masking": not_miwae,
}
