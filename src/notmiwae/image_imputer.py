"""`ImageImputer`: the imputers' face for images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from notmiwae import directions, imputation, persistence, storage
from notmiwae.assembly import choose_device
from notmiwae.ensembles import TRIAL
from notmiwae.image_assembly import PRECISIONS, build_image_model
from notmiwae.image_model import ImageModel
from notmiwae.image_observations import IMAGE_OBSERVATIONS, ImageObservation
from notmiwae.mechanisms import MECHANISMS, Mechanism
from notmiwae.model import LatentVariableModel
from notmiwae.networks import IMAGE_DECODERS, IMAGE_ENCODERS, ImageShape
from notmiwae.training import OPTIMIZERS, SCHEDULES, History, apart, fit, seeded, short_warm_up
from notmiwae.validation import check_number, lookup, resolve

FILE = "imputer.json"
ESTIMATORS = [*imputation.MEANS, "median"]
WAITING = 6
"""The mechanism waits for one step in so many, while the rest is trained."""

IMAGES_PER_SEED = 1024
"""So many images are filled at once, with a stream of noise of their own."""

INTERVAL_DRAWS = 200
"""Draws of an image from which its quantiles come."""

COUNTS = ("n_latent", "n_samples", "max_epochs", "batch_size", "n_impute_samples")
TRAINING = (
    "n_samples",
    "batch_size",
    "learning_rate",
    "mechanism_rate",
    "optimizer",
    "clip_norm",
)

Watcher = Callable[[int, "ImageImputer"], None]


class ImageImputer(BaseEstimator):
    """Impute cells of images that are missing not at random (not-MIWAE).

    Images are arrays ``(N, C, H, W)`` of values in [0, 1], with NaN where a cell is missing.

    Parameters
    ----------
    mechanism : str or callable, default 'pixelwise'
        Why cells are missing: 'pixelwise' (a small network over the channels of a pixel, shared by
        all pixels), 'self-masking', 'self-masking-known', 'linear', 'nonlinear' (a score for each
        cell, of its own value or of all cells), 'convolutional', 'convolutional-2' (of its
        neighbourhood), 'ignorable', any other of `notmiwae.mechanisms.MECHANISMS`; or
        ``image_shape -> Mechanism``.
    sign : float or sequence of float, default 1
        For 'self-masking-known': +1 where high values go missing, -1 where low ones do; one, or one
        for each channel.
    integrate : {'auto', 'sample'}, default 'auto'
        'auto' integrates missing cells out where the mechanism allows it (pixelwise and
        self-masking ones do); 'sample' draws them.
    observation : str or callable, default 'colour-chain'
        Distribution of a pixel given the latents: 'colour-chain' (its channels hang together) or
        'gaussian' (independent cells, as in the report); or ``(image_shape, decoder) ->
        ImageObservation``.
    encoder, decoder : str or callable, default 'convolutional'
        'convolutional' (as in the report; height and width are multiples of 8) or 'mlp'; or
        ``(image_shape, n_outputs) -> Module`` and ``(image_shape, n_latent, n_maps) -> Module``.
    n_latent : int, default 128
    n_samples : int, default 1
        Importance samples in training, K.
    max_epochs : int, default 30
        How often each image is seen in training. For the first sixth of it, the mechanism waits.
    n_images : int, optional
        How many images are seen in training, in place of `max_epochs`.
    batch_size : int, default 16
    learning_rate : float, default 1e-3
    mechanism_rate : float, default 10
        How many times faster the mechanism learns.
    optimizer : {'adam', 'adamw'}, default 'adam'
    schedule : {'one-cycle', 'constant'} or callable, default 'one-cycle'
        'one-cycle' warms up for a tenth of the steps; or ``(optimizer, n_steps) -> LRScheduler``.
    clip_norm : float, default 1000
        Largest norm of a gradient.
    validation_fraction : float, default 0.1
        Share of images held out, to choose the weights that are kept.
    evaluate_every : int, optional
        Steps between looks at the held-out images; by default, once per epoch.
    patience : int, optional
        Stop after so many looks without improvement; by default the schedule runs to its end.
    n_impute_samples : int, default 100
        Importance samples in imputation.
    estimator : {'conditional-mean', 'median', 'decoder-mean'}, default 'conditional-mean'
        What fills a missing cell. 'decoder-mean' ignores that it is missing because of what it is.
    device : str, default 'auto'
        'auto' is a GPU if there is one.
    precision : {'float32', 'bfloat16'}, default 'float32'
        In which the networks compute; densities and weights always do in float32.
    random_state : int, RandomState or None, default None
        Fixes everything on a given machine and thread count.
    verbose : bool, default False
        Show progress bars on stderr.
    checkpoint : path, optional
        Folder by which an interrupted `fit` goes on; to be removed before others are fitted.

    Attributes
    ----------
    model_ : ImageModel
    history_ : History
        Bounds during training.
    image_shape_ : ImageShape
        Channels, height and width.
    n_parameters_, n_mechanism_parameters_ : int
        Trainable weights, of the model and of its mechanism.

    Examples
    --------
    >>> import numpy as np
    >>> from notmiwae import ImageImputer
    >>> images = np.random.default_rng(0).random((20, 3, 8, 8))
    >>> images[:, 2][images[:, 2] > images[:, :2].max(1)] = np.nan
    >>> imputer = ImageImputer(n_latent=4, max_epochs=1, random_state=0).fit(images)
    >>> imputer.transform(images).shape
    (20, 3, 8, 8)
    """

    def __init__(
        self,
        mechanism: str | Callable[[ImageShape], Mechanism] = "pixelwise",
        *,
        sign: float | Sequence[float] = 1.0,
        integrate: str = "auto",
        observation: str | Callable[..., ImageObservation] = "colour-chain",
        encoder: str | Callable[..., torch.nn.Module] = "convolutional",
        decoder: str | Callable[..., torch.nn.Module] = "convolutional",
        n_latent: int = 128,
        n_samples: int = 1,
        max_epochs: int = 30,
        n_images: int | None = None,
        batch_size: int = 16,
        learning_rate: float = 1e-3,
        mechanism_rate: float = 10.0,
        optimizer: str = "adam",
        schedule: Any = "one-cycle",
        clip_norm: float = 1e3,
        validation_fraction: float = 0.1,
        evaluate_every: int | None = None,
        patience: int | None = None,
        n_impute_samples: int = 100,
        estimator: str = "conditional-mean",
        device: str = "auto",
        precision: str = "float32",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
        checkpoint: str | Path | None = None,
    ) -> None:
        self.mechanism = mechanism
        self.sign = sign
        self.integrate = integrate
        self.observation = observation
        self.encoder = encoder
        self.decoder = decoder
        self.n_latent = n_latent
        self.n_samples = n_samples
        self.max_epochs = max_epochs
        self.n_images = n_images
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.mechanism_rate = mechanism_rate
        self.optimizer = optimizer
        self.schedule = schedule
        self.clip_norm = clip_norm
        self.validation_fraction = validation_fraction
        self.evaluate_every = evaluate_every
        self.patience = patience
        self.n_impute_samples = n_impute_samples
        self.estimator = estimator
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose
        self.checkpoint = checkpoint

    def fit(self, X: Any, y: Any = None, *, on_evaluation: Watcher | None = None) -> ImageImputer:
        """Learn a model of images and of their holes.

        Parameters
        ----------
        X : array of shape (N, C, H, W)
            Values in [0, 1], NaN where missing.
        y : ignored
        on_evaluation : callable, optional
            ``(step, imputer)``, called at every look at the held-out images, with the weights of
            that step. It has no influence on training.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a hyper-parameter or the images cannot be used; the message says what to do.
        """
        self._start(X)
        return self._train(X, on_evaluation)

    def adapt(self, X: Any, *, on_evaluation: Watcher | None = None) -> ImageImputer:
        """Learn why cells are missing in other images, with what is known of images kept.

        The decoder, which says what images are like, stays as it is; mechanism and encoder learn
        anew from X, where other cells go missing, for example another channel. Nothing of what is
        missing in X needs to be known.

        Parameters
        ----------
        X : array of shape (N, C, H, W)
            Of the channels, height and width that the imputer was fitted to.
        on_evaluation : callable, optional
            See `fit`.

        Returns
        -------
        ImageImputer
            A new one, fitted, with the same parameters.
        """
        self._read(X)
        adapted: ImageImputer = clone(self)
        adapted._start(X)
        model = adapted.model_
        model.observation.load_state_dict(self.model_.observation.state_dict())
        model.encoder.load_state_dict(self.model_.encoder.state_dict())
        model.freeze()
        return adapted._train(X, on_evaluation)

    def transform(self, X: Any) -> np.ndarray:
        """Fill missing cells; observed ones come back as they are.

        Parameters
        ----------
        X : array of shape (N, C, H, W)

        Returns
        -------
        array of shape (N, C, H, W)
        """
        return self._fill(self._read(X), self._estimate)

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        """Learn, and fill."""
        return self.fit(X).transform(X)

    def sample(self, X: Any, n_draws: int = 10) -> np.ndarray:
        """Draw completed images: multiple imputations ``(n_draws, N, C, H, W)``."""
        check_is_fitted(self)
        check_number("n_draws", n_draws, at_least=1, whole=True)
        return self._fill(self._read(X), partial(self._streamed(imputation.draws), n_draws=n_draws))

    def predict_interval(self, X: Any, coverage: float = 0.9) -> np.ndarray:
        """Give each missing cell an interval that holds its value with probability `coverage`.

        Parameters
        ----------
        X : array of shape (N, C, H, W)
        coverage : float
            Between 0 and 1; equal tails.

        Returns
        -------
        array of shape (N, C, H, W, 2)
            Lower and upper ends; both equal the value where it is observed.
        """
        check_is_fitted(self)
        check_number("coverage", coverage, above=0, below=1)
        levels = [(1 - coverage) / 2, (1 + coverage) / 2]

        def ends(values: Tensor, mask: Tensor, seed: int) -> Tensor:
            return self._quantiles(values, mask, levels, seed).movedim(-1, 0)

        return np.moveaxis(self._fill(self._read(X), ends), 0, -1)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean bound on the log-likelihood per image of values and mask, in nats."""
        values, mask = self._to_model(self._read(X))
        return self._streamed(imputation.diagnose)(values, mask).log_likelihood.mean().item()

    @property
    def n_parameters_(self) -> int:
        """Trainable weights of the model."""
        return sum(parameter.numel() for parameter in self.model_.parameters())

    @property
    def n_mechanism_parameters_(self) -> int:
        """Trainable weights of the mechanism."""
        return sum(parameter.numel() for parameter in self.model_.mechanism.parameters())

    def save(self, path: str | Path) -> None:
        """Write the fitted imputer to a folder: JSON and safetensors, nothing pickled.

        Raises
        ------
        TypeError
            If a parameter is a callable, which a file cannot hold.
        """
        check_is_fitted(self)
        fitted = {
            "image_shape": self.image_shape_,
            "seed": self.seed_,
            "history": vars(self.history_),
        }
        persistence.write(
            path,
            FILE,
            self.model_.state_dict(),
            {
                "version": storage.version(),
                "imputer": type(self).__name__,
                "parameters": storage.plain(storage.parameters(self)),
                "fitted": storage.plain(fitted),
            },
        )

    @classmethod
    def load(cls, path: str | Path) -> ImageImputer:
        """Read what `save` wrote.

        Raises
        ------
        ModelFileError
            If files are missing, damaged, from a newer version, or of another imputer.
        """
        tensors, meta = persistence.read(path, FILE)
        if meta.get("imputer") != cls.__name__:
            raise persistence.ModelFileError(
                f"{path} holds a {meta.get('imputer')}, which {cls.__name__}.load cannot read"
            )
        try:
            imputer = cls(**meta["parameters"])
            fitted = meta["fitted"]
            imputer.image_shape_ = ImageShape(*fitted["image_shape"])
            imputer.seed_, imputer.history_ = fitted["seed"], History(**fitted["history"])
            share = torch.zeros(imputer.image_shape_.n_features)
            # A model from a machine with a GPU works without one.
            imputer.device_ = choose_device(imputer.device if torch.cuda.is_available() else "cpu")
            imputer.model_ = imputer._build(share)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise persistence.ModelFileError(
                f"{Path(path) / FILE} is damaged ({error}): save the model again"
            ) from error
        persistence.load_weights(imputer.model_, tensors, path)
        imputer.model_.eval()
        return imputer

    def _start(self, X: Any) -> None:
        """Check everything, and build an untrained model."""
        self._check_parameters()
        self.device_ = choose_device(self.device)
        x = read_images(X)
        if np.isnan(x).all():
            raise ValueError("every value is missing: there is nothing to learn from")
        self.image_shape_ = ImageShape(*x.shape[1:])
        self.seed_ = int(check_random_state(self.random_state).randint(2**31 - 1))
        share = np.isnan(x).mean(0, dtype=np.float32).ravel()
        self.model_ = self._build(torch.as_tensor(share))

    def _build(self, missing_share: Tensor) -> ImageModel:
        with seeded(self.seed_):
            model = build_image_model(vars(self), self.image_shape_, missing_share)
        return model.to(self.device_)

    def _train(self, X: Any, on_evaluation: Watcher | None) -> ImageImputer:
        values, mask = (part.to(self.device_) for part in self._to_model(self._read(X)))
        with seeded(self.seed_):
            held_out = (torch.rand(len(values)) < self.validation_fraction).to(self.device_)
        usable = 0 < held_out.sum() < len(values)
        rows = ~held_out if usable else torch.ones_like(held_out)
        n_rows = int(rows.sum())
        n_steps = max(4, -(-(self.n_images or self.max_epochs * n_rows) // self.batch_size))
        waiting = n_steps // WAITING
        train: Callable[..., History] = partial(
            fit,
            x=values[rows],
            mask=mask[rows],
            weight_decay=0.0,
            schedule=short_warm_up if self.schedule == "one-cycle" else self.schedule,
            evaluate_every=self.evaluate_every or -(-n_rows // self.batch_size),
            seed=self.seed_,
            progress=str(self.mechanism) if self.verbose else None,
            **{name: getattr(self, name) for name in TRAINING},
        )

        def watch(step: int, model: Any) -> None:
            if on_evaluation is not None:
                on_evaluation(step, self)

        # In which direction cells go missing is decided early, and a wrong turn is seldom undone:
        # so the rest is to know what they would be before the mechanism learns from it.
        if waiting:
            self.model_.mechanism.requires_grad_(False)
            train(self.model_, max_steps=waiting, on_evaluation=watch)
            self.model_.mechanism.requires_grad_(True)
            self._direct(values, mask, train, n_steps)
        self.history_ = train(
            self.model_,
            max_steps=n_steps - waiting,
            validation=(values[held_out], mask[held_out]) if usable else None,
            patience=self.patience,
            on_evaluation=lambda step, model: watch(step + waiting, model),
            checkpoint=self.checkpoint and Path(self.checkpoint) / "images.safetensors",
        )
        return self

    def _direct(
        self, values: Tensor, mask: Tensor, train: Callable[..., History], n_steps: int
    ) -> None:
        """Start a mechanism that is told a direction from there, unless short trainings refute it.

        From a flat start it might never get there: zero-filled gaps look dark to the rest.
        """

        def try_out(models: Sequence[LatentVariableModel], share: float) -> None:
            for model in models:
                train(model, max_steps=max(1, round(share * TRIAL * n_steps)))

        trials = directions.Trials(
            values, mask, try_out, self.seed_, n_samples=directions.N_IMAGE_SAMPLES
        )
        start = directions.start_of_images(self.model_, self.image_shape_.channels, trials)
        if start is not None:
            self.model_ = directions.started(self.model_, start)

    def _check_parameters(self) -> None:
        for name in COUNTS:
            check_number(name, getattr(self, name), at_least=1, whole=True)
        for name in ("n_images", "evaluate_every", "patience"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), at_least=1, whole=True)
        for name in ("learning_rate", "mechanism_rate", "clip_norm"):
            check_number(name, getattr(self, name), above=0)
        check_number("validation_fraction", self.validation_fraction, at_least=0, below=1)
        lookup("estimator", self.estimator, dict.fromkeys(ESTIMATORS))
        lookup("optimizer", self.optimizer, OPTIMIZERS)
        lookup("precision", self.precision, PRECISIONS)
        resolve("schedule", self.schedule, SCHEDULES)
        resolve("mechanism", self.mechanism, MECHANISMS)
        resolve("observation", self.observation, IMAGE_OBSERVATIONS)
        resolve("encoder", self.encoder, IMAGE_ENCODERS)
        resolve("decoder", self.decoder, IMAGE_DECODERS)

    def _read(self, X: Any) -> np.ndarray:
        """Validate images of the shape that was fitted."""
        check_is_fitted(self)
        x = read_images(X)
        if x.shape[1:] != tuple(self.image_shape_):
            raise ValueError(
                f"the imputer was fitted to images of (channels, height, width) "
                f"{tuple(self.image_shape_)}; got {x.shape[1:]}: give it such images, or fit anew"
            )
        return x

    def _to_model(self, x: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return zero-filled rows and mask."""
        rows = x.reshape(len(x), -1)
        mask = ~np.isnan(rows)
        values = np.where(mask, rows, 0).astype(np.float32)
        return torch.as_tensor(values), torch.as_tensor(mask.astype(np.float32))

    def _streamed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Bind the model and the settings of imputation to one of its functions."""
        return partial(
            function,
            [self.model_],
            n_samples=self.n_impute_samples,
            seed=self.seed_,
            progress=self.verbose,
        )

    def _quantiles(
        self, values: Tensor, mask: Tensor, levels: Sequence[float], seed: int
    ) -> Tensor:
        quantiles = self._streamed(imputation.quantiles)
        return quantiles(values, mask, levels=levels, n_draws=INTERVAL_DRAWS, seed=seed)

    def _estimate(self, values: Tensor, mask: Tensor, seed: int) -> Tensor:
        if self.estimator == "median":
            return self._quantiles(values, mask, [0.5], seed).squeeze(-1)
        mean = self._streamed(imputation.conditional_mean)
        return mean(values, mask, estimator=self.estimator, seed=seed)

    def _fill(self, x: np.ndarray, estimate: Callable[..., Tensor]) -> np.ndarray:
        """Fill images with `estimate`, ``(..., N, D)`` for values, mask and a seed, in parts."""
        parts = [
            self._fill_part(
                x[start : start + IMAGES_PER_SEED],
                partial(estimate, seed=apart(self.seed_, start // IMAGES_PER_SEED)),
            )
            for start in range(0, len(x), IMAGES_PER_SEED)
        ]
        return np.concatenate(parts, axis=-4)

    def _fill_part(self, x: np.ndarray, estimate: Callable[..., Tensor]) -> np.ndarray:
        holed = np.flatnonzero(np.isnan(x).any((1, 2, 3)))
        some = x[holed] if len(holed) else x[:1]
        estimated = estimate(*self._to_model(some)).clamp(0, 1).numpy()
        estimated = estimated.reshape(*estimated.shape[:-1], *x.shape[1:])
        filled = np.broadcast_to(x, (*estimated.shape[:-4], *x.shape)).copy()
        if len(holed):
            filled[..., holed, :, :, :] = np.where(np.isnan(some), estimated, some)
        return filled


def read_images(X: Any) -> np.ndarray:
    """Validate images ``(N, C, H, W)`` with values in [0, 1] or NaN.

    Raises
    ------
    ValueError
        If they are something else; the message says what to do.
    """
    x = np.asarray(X)
    if x.dtype.kind not in "fiub":
        raise ValueError(f"X must be an array of numbers; got dtype {x.dtype}")
    if x.ndim != 4 or 0 in x.shape:
        hint = ": give grey images one channel, X[:, None]" if x.ndim == 3 else ""
        raise ValueError(
            f"X must hold images as (number, channels, height, width), none of them 0; got shape "
            f"{x.shape}{hint}"
        )
    if x.dtype not in (np.float32, np.float64):
        x = x.astype(np.float32 if x.dtype.itemsize < 4 else np.float64)
    low, high = np.nanmin(x, initial=0.0), np.nanmax(x, initial=1.0)
    if low < 0 or high > 1:
        raise ValueError(
            f"values must lie in [0, 1], NaN where missing; got {low:g} to {high:g}: scale them, "
            "for example X / 255"
        )
    return x
