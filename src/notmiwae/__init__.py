"""Imputation of values that are missing not at random, with deep latent variable models."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from notmiwae.image_imputer import ImageImputer
    from notmiwae.imputers import MIWAEImputer, NotMIWAEImputer
    from notmiwae.pooling import pool
    from notmiwae.sensitivity import sensitivity_analysis

__version__ = "0.1.0"

__all__ = ["ImageImputer", "MIWAEImputer", "NotMIWAEImputer", "pool", "sensitivity_analysis"]

_MODULES = {
    "ImageImputer": "image_imputer",
    "MIWAEImputer": "imputers",
    "NotMIWAEImputer": "imputers",
    "pool": "pooling",
    "sensitivity_analysis": "sensitivity",
}


def __getattr__(name: str) -> Any:
    """Import torch, which takes seconds, only for those who impute: not for a line of help."""
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
