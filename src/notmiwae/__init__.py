"""Imputation of values that are missing not at random, with deep latent variable models."""

from notmiwae.imputers import MIWAEImputer, NotMIWAEImputer

__version__ = "0.1.0"

__all__ = ["MIWAEImputer", "NotMIWAEImputer"]
