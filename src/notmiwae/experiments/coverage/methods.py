"""From a survey with holes to tables to analyse: a smaller one, or several completed ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

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


def not_miwae(holes: pd.DataFrame, seed: int) -> list[pd.DataFrame]:
    """not-MIWAE, a bootstrap ensemble: incomes are missing by what they are, the data say how."""
    imputer = NotMIWAEImputer("self-masking", **SMALL, random_state=seed)
    draws = imputer.fit(holes).sample(holes, N_DRAWS)
    return [pd.DataFrame(draw, columns=holes.columns) for draw in draws]


METHODS: dict[str, Callable[[pd.DataFrame, int], list[pd.DataFrame]]] = {
    "complete cases": complete_cases,
    "MICE": mice,
    "not-MIWAE self-masking": not_miwae,
}
