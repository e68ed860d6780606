"""The scikit-learn face: `NotMIWAEImputer` and `MIWAEImputer`.

Both learn a deep latent variable model of a table with holes and fill these with what the model
expects given the observed values and, for `NotMIWAEImputer`, given *that* the values are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from notmiwae.latent_imputer import LatentVariableImputer
from notmiwae.mechanisms import Mechanism
from notmiwae.observations import SCALE_FLOOR, Observation


class NotMIWAEImputer(LatentVariableImputer):
    """Impute values that are missing not at random (not-MIWAE).

    A deep latent variable model of the table is learned together with a model of why values are
    missing, by maximising an importance-weighted bound on the likelihood of observed values and
    mask [1]_.

    Parameters
    ----------
    mechanism : str, callable or mapping, default 'auto'
        Why values are missing: 'auto' (whichever of 'at-random', 'self-masking', with and without
        what complete columns say of the mask, and 'self-masking-spline' explains held-out rows
        best; each is trained), 'at-random' (for other reasons than the value
        itself), 'ignorable' (the same, not modelled), 'self-masking' (above or below a
        threshold, data decide), 'self-masking-known' (on the side that `sign` gives),
        'self-masking-quadratic' (also in the tails or in the middle), 'self-masking-spline' (any
        shape), 'linear' or 'nonlinear' (whether a column is missing depends on all columns); or
        ``n_features -> Mechanism``. A mapping states it column by column, ``{"income":
        "self-masking-known:+", "age": "ignorable", "*": "auto"}``, with '*' for the others, which
        are 'auto' without it; there, 'self-masking-known:+' and ':-' say the side, and 'below:0.5'
        or 'above:14' a detection limit in the column's units, beyond which all values are missing
        and no others are. Of categories without an order, any self-masking mechanism learns which
        go missing.
    sign : float or sequence of float, default 1
        For 'self-masking-known': +1 where high values go missing, -1 where low ones do; one for
        all columns, or one each.
    integrate : {'auto', 'sample'}, default 'auto'
        'auto' integrates missing cells out exactly where the mechanism allows it; 'sample' draws
        them, as published.
    observation : str or callable, default 'gaussian'
        Distribution of a value given the latents: 'gaussian', 'student-t', 'truncated-normal'
        (needs `bounds`), 'bernoulli' (values 0 and 1); or ``(n_features, decoder) -> Observation``.
    scale : {'column', 'network', 'shared'}, default 'column'
        Whether its scale is one per column, a function of the latents, or one for all.
    scale_floor : float, default 0.01
        Least scale, in standard deviations of a column. A column in which one value makes a share
        of more than a quarter of what is observed has that share as its least scale.
    skew : bool, default True
        Whether columns of numbers that miss values may be skewed: one number per column is learned,
        see `notmiwae.skewness`. It is for the observations 'gaussian' and 'student-t', and for
        mechanisms that know no number beforehand, as a detection limit does, and compare no cells.
    bounds : pair, optional
        Low and high for 'truncated-normal', numbers or one of each per column, in table units.
    types : mapping, optional
        What columns hold, by name (by number for an array; '*' for all that are not named):
        'continuous', 'positive', 'bounded' or 'bounded:LOW,HIGH', 'binary', 'categorical',
        'ordinal' or the labels from the lowest to the highest, 'count', or 'left-out'. What is not
        given is inferred (`notmiwae.kinds.infer`), unless no type is given and all columns are
        numbers: these are then continuous. Dates, and labels that hardly repeat, are left as they
        are, with a warning. ``imputer.schema_`` says what each column was taken for.
    encoder : str or callable, default 'product-of-experts'
        'zero-fill' (as published), 'mask-concatenating', 'learnable-fill', 'permutation-invariant'
        or 'product-of-experts'; or
        ``(n_features, n_latent) -> Encoder``.
    decoder : str or callable, default 'auto'
        'auto' ('linear+mlp', and models with a linear one averaged with it where a rehearsal says
        that a line goes on better beyond what is seen, see `notmiwae.rehearsal`), 'linear', 'mlp'
        or 'linear+mlp'; or ``(n_latent, n_outputs) -> Module``.
    n_latent : int, optional
        Number of latent dimensions; by default one fewer than columns, at most 20.
    hidden : sequence of int, default (64, 64)
        Widths of the hidden layers.
    activation : {'relu', 'silu', 'tanh'}, default 'silu'
    n_samples : int, default 5
        Importance samples in training, K.
    max_steps : int, default 1000
        Optimiser steps, after a fifth as many in which the mechanism waits; models that are
        averaged learn on for as many again.
    batch_size : int, default 128
    learning_rate : float, default 1e-2
    mechanism_rate : float, default 10
        How many times faster the mechanism learns.
    weight_decay : float, optional
        Decoupled weight decay on the decoder's multilayer perceptron, on the mechanism's bends and
        on what other columns say of a value's absence; by default 300 / N, a prior whose say
        against the likelihood of the rows is less the more there are.
    optimizer : {'adamw', 'adam'}, default 'adamw'
    schedule : {'one-cycle', 'constant'} or callable, default 'one-cycle'
        ``(optimizer, n_steps) -> LRScheduler``.
    clip_norm : float, default 10
        Largest norm of a gradient.
    validation_fraction : float, default 0.2
        Share of rows held out, to choose the weights that are kept and, for 'auto', the mechanism.
    n_models : int, default 2
        Models that are averaged, each from a start of its own; those whose held-out bound is far
        below the first one's are left out, since they took a wrong turn. 'auto' trains one of each
        mechanism, averages over all that explain held-out rows about as well as the chosen one (but
        never a spline with others), and trains more of this one if they are fewer than `n_models`.
        As many with a linear decoder may join them, see `decoder`.
    bootstrap : bool, default False
        Fit each model to its own bootstrap sample of the rows, and hold out of the rows that it
        leaves out up to `validation_fraction`. Draws of `sample`, which come from the models in
        turn, then differ by what is not known of the model, too, as intervals of `notmiwae.pool`
        need: ask for as many models as draws, such as 20. All models are kept.
    evaluate_every : int, default 100
        Steps between looks at the held-out rows.
    patience : int, optional
        Stop after so many looks without improvement; by default the schedule runs to its end.
    n_impute_samples : int, default 1000
        Importance samples in imputation.
    estimator : {'conditional-mean', 'median', 'decoder-mean'}, default 'conditional-mean'
        What fills a missing cell. 'decoder-mean' is the published estimator, which ignores that
        the value is missing because of what it is; it is there for comparison.
    missing_values : float, default NaN
        What stands for a missing value.
    add_indicator : bool, default False
        Append columns that say what was missing.
    keep_empty_features : bool, default True
        Keep columns in which nothing was observed at fit, filled with 0.
    device : str, default 'auto'
        'auto' is a GPU if there is one.
    random_state : int, RandomState or None, default None
        Fixes everything on a given machine and thread count.
    verbose : bool, default False
        Show progress bars on stderr.
    checkpoint : path, optional
        Folder by which an interrupted `fit` goes on; to be removed before another table is fitted.

    Attributes
    ----------
    models_, histories_, mechanisms_ : list
        The models that are averaged, their bounds while they learned on, and the mechanism of each.
    model_, history_
        The first of each; ``history_.plot()``.
    selection_ : Selection
        Which mechanism was chosen, and by how much.
    candidates_ : dict
        The first model of each mechanism that was compared, and of those with a linear decoder, by
        name; see `under`.
    rehearsal_ : Rehearsal or None
        How the decoder and a linear one did beyond the edge of what they had seen; None if that
        was not tried: for fewer than 600 rows, columns that differ in kind or mechanism, crowds at
        one value of columns that miss values, bootstrap samples, a decoder that was named, and
        mechanisms without an edge.
    missing_share_ : array
        Share of missing values of each modelled column.
    schema_ : Schema or None
        What each column is; None if all are numbers and nothing else was said.
    n_features_in_ : int
    feature_names_in_ : array of str
        If the table had names.

    References
    ----------
    .. [1] Ipsen, Mattei & Frellsen, "not-MIWAE: Deep Generative Modelling with Missing not at
       Random Data", ICLR 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from notmiwae import NotMIWAEImputer
    >>> x = np.random.default_rng(0).normal(size=(200, 3)) + np.arange(3)
    >>> x[x > 2] = np.nan
    >>> imputer = NotMIWAEImputer("self-masking-known", max_steps=100, random_state=0)
    >>> bool(np.isnan(imputer.fit_transform(x)).any())
    False
    """

    def __init__(
        self,
        mechanism: str | Callable[[int], Mechanism] | Mapping[Any, Any] = "auto",
        *,
        sign: float | Sequence[float] = 1.0,
        integrate: str = "auto",
        observation: str | Callable[..., Observation] = "gaussian",
        scale: str = "column",
        scale_floor: float = SCALE_FLOOR,
        skew: bool = True,
        bounds: Sequence[Any] | None = None,
        types: Mapping[Any, Any] | None = None,
        encoder: str | Callable[..., torch.nn.Module] = "product-of-experts",
        decoder: str | Callable[..., torch.nn.Module] = "auto",
        n_latent: int | None = None,
        hidden: Sequence[int] = (64, 64),
        activation: str = "silu",
        n_samples: int = 5,
        max_steps: int = 1000,
        batch_size: int = 128,
        learning_rate: float = 1e-2,
        mechanism_rate: float = 10.0,
        weight_decay: float | None = None,
        optimizer: str = "adamw",
        schedule: Any = "one-cycle",
        clip_norm: float = 10.0,
        validation_fraction: float = 0.2,
        n_models: int = 2,
        bootstrap: bool = False,
        evaluate_every: int = 100,
        patience: int | None = None,
        n_impute_samples: int = 1000,
        estimator: str = "conditional-mean",
        missing_values: float = np.nan,
        add_indicator: bool = False,
        keep_empty_features: bool = True,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
        checkpoint: str | Path | None = None,
    ) -> None:
        self.mechanism = mechanism
        self.sign = sign
        self.integrate = integrate
        self.observation = observation
        self.scale = scale
        self.scale_floor = scale_floor
        self.skew = skew
        self.bounds = bounds
        self.types = types
        self.encoder = encoder
        self.decoder = decoder
        self.n_latent = n_latent
        self.hidden = hidden
        self.activation = activation
        self.n_samples = n_samples
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.mechanism_rate = mechanism_rate
        self.weight_decay = weight_decay
        self.optimizer = optimizer
        self.schedule = schedule
        self.clip_norm = clip_norm
        self.validation_fraction = validation_fraction
        self.n_models = n_models
        self.bootstrap = bootstrap
        self.evaluate_every = evaluate_every
        self.patience = patience
        self.n_impute_samples = n_impute_samples
        self.estimator = estimator
        self.missing_values = missing_values
        self.add_indicator = add_indicator
        self.keep_empty_features = keep_empty_features
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.checkpoint = checkpoint


class MIWAEImputer(LatentVariableImputer):
    """Impute values that are missing at random (MIWAE): `NotMIWAEImputer` with no mechanism.

    See `NotMIWAEImputer` for the parameters and attributes, which are the same but for
    `mechanism`, `sign`, `integrate` and `mechanism_rate`, which this has not.

    References
    ----------
    .. [1] Mattei & Frellsen, "MIWAE: Deep Generative Modelling and Imputation of Incomplete Data
       Sets", ICML 2019.
    """

    def __init__(
        self,
        *,
        observation: str | Callable[..., Observation] = "gaussian",
        scale: str = "column",
        scale_floor: float = SCALE_FLOOR,
        skew: bool = True,
        bounds: Sequence[Any] | None = None,
        types: Mapping[Any, Any] | None = None,
        encoder: str | Callable[..., torch.nn.Module] = "product-of-experts",
        decoder: str | Callable[..., torch.nn.Module] = "auto",
        n_latent: int | None = None,
        hidden: Sequence[int] = (64, 64),
        activation: str = "silu",
        n_samples: int = 5,
        max_steps: int = 1000,
        batch_size: int = 128,
        learning_rate: float = 1e-2,
        weight_decay: float | None = None,
        optimizer: str = "adamw",
        schedule: Any = "one-cycle",
        clip_norm: float = 10.0,
        validation_fraction: float = 0.2,
        n_models: int = 2,
        bootstrap: bool = False,
        evaluate_every: int = 100,
        patience: int | None = None,
        n_impute_samples: int = 1000,
        estimator: str = "conditional-mean",
        missing_values: float = np.nan,
        add_indicator: bool = False,
        keep_empty_features: bool = True,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
        checkpoint: str | Path | None = None,
    ) -> None:
        self.observation = observation
        self.scale = scale
        self.scale_floor = scale_floor
        self.skew = skew
        self.bounds = bounds
        self.types = types
        self.encoder = encoder
        self.decoder = decoder
        self.n_latent = n_latent
        self.hidden = hidden
        self.activation = activation
        self.n_samples = n_samples
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.optimizer = optimizer
        self.schedule = schedule
        self.clip_norm = clip_norm
        self.validation_fraction = validation_fraction
        self.n_models = n_models
        self.bootstrap = bootstrap
        self.evaluate_every = evaluate_every
        self.patience = patience
        self.n_impute_samples = n_impute_samples
        self.estimator = estimator
        self.missing_values = missing_values
        self.add_indicator = add_indicator
        self.keep_empty_features = keep_empty_features
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.checkpoint = checkpoint
