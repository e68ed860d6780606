import numpy as np
import pytest
import torch
from sklearn.base import clone

from notmiwae import ImageImputer, image_imputer
from notmiwae.image_imputer import read_images
from notmiwae.image_mechanisms import Convolutional
from notmiwae.mechanisms import MECHANISMS
from notmiwae.persistence import ModelFileError

SMALL = {"n_latent": 3, "n_images": 80, "n_impute_samples": 4, "random_state": 0}


def images(n=24, channels=3, size=8):
    """Smooth colours, so that a pixel's channels and neighbours hang together."""
    rng = np.random.default_rng(0)
    rise = np.linspace(0, 1, size)
    grey = 0.3 + 0.4 * rng.random((n, 1, 1, 1)) * rise[:, None]
    tint = rng.normal(0, 0.08, (n, channels, 1, 1))
    noise = rng.normal(0, 0.02, (n, channels, size, size))
    return np.clip(grey + tint + noise, 0, 1)


def without_dominant(x, channel=2):
    holed = x.copy()
    others = np.delete(x, channel, axis=1)
    holed[:, channel][x[:, channel] > others.max(1)] = np.nan
    return holed


def imputer(mechanism="pixelwise", **settings):
    return ImageImputer(mechanism, **SMALL | settings)


def assert_imputed(filled, x):
    seen = ~np.isnan(x)
    assert filled.shape[-4:] == x.shape
    assert ((filled >= 0) & (filled <= 1)).all()
    assert np.array_equal(filled[..., seen], np.broadcast_to(x[seen], filled[..., seen].shape))


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("observation", ["colour-chain", "gaussian"])
def test_every_pair_trains(mechanism, observation):
    x = without_dominant(images())
    x[0, :, 2] = np.nan
    x[1, :2, 3] = np.nan
    model = imputer(mechanism, observation=observation)
    assert_imputed(model.fit_transform(x), x)
    assert_imputed(model.sample(x[:3], 2), x[:3])
    assert np.isfinite(model.score(x))
    assert np.isfinite(model.history_.bound).all()


@pytest.mark.parametrize("settings", [{"encoder": "mlp", "decoder": "mlp"}, {"n_samples": 3}])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_images_of_any_number_of_channels_train(settings, precision, channels):
    x = images(channels=channels)
    x[x > 0.6] = np.nan
    model = imputer(precision=precision, **settings)
    assert_imputed(model.fit_transform(x), x)
    assert next(model.model_.parameters()).dtype == torch.float32
    rows = (part.to(model.device_) for part in model._to_model(x))
    assert model.model_(*rows, 2).log_weights.dtype == torch.float32


def test_wide_images_train():
    x = without_dominant(images(size=16)[..., :8])
    assert_imputed(imputer().fit_transform(x), x)


def test_dense_networks_take_any_size():
    x = without_dominant(images(size=7))
    assert_imputed(imputer(encoder="mlp", decoder="mlp").fit_transform(x), x)


@pytest.mark.parametrize(
    ("mechanism", "n_weights"),
    [
        ("self-masking", 2_616_262),
        ("self-masking-known", 2_616_262),
        ("convolutional", 2_610_202),
        ("convolutional-2", 2_638_281),
        ("nonlinear", 5_759_430),
        ("linear", 12_050_374),
    ],
)
def test_models_have_as_many_weights_as_published(mechanism, n_weights):
    """Table 4 of the report: 128 latent dimensions, images of 3 x 32 x 32."""
    x = images(n=2, size=32)
    model = ImageImputer(mechanism, observation="gaussian", n_images=1, random_state=0)
    model._start(x)
    assert model.n_parameters_ == n_weights
    assert model.n_parameters_ - model.n_mechanism_parameters_ == 2_610_118


def error_beside_largest(channel, n, max_epochs):
    """RMSE of imputations, and of filling in the largest other channel."""
    truth = images(n)
    x = without_dominant(truth, channel)
    hidden = np.isnan(x)
    model = ImageImputer(n_latent=4, max_epochs=max_epochs, n_impute_samples=20, random_state=0)
    largest = np.broadcast_to(np.delete(x, channel, axis=1).max(1, keepdims=True), x.shape)
    return [
        np.sqrt(np.mean((filled - truth)[hidden] ** 2))
        for filled in (model.fit_transform(x), largest)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_any_channel_that_dominates_is_found_well_above(channel):
    ours, trivial = error_beside_largest(channel, n=200, max_epochs=40)
    assert ours < 0.8 * trivial


@pytest.mark.parametrize("side", [1, -1])
def test_what_is_over_or_under_exposed_is_found_beyond_the_limit(side):
    """From zero-filled gaps a model expects dark values, and the mechanism would follow it."""
    x = images(100, channels=1)
    x = x if side > 0 else 1 - x
    holes = np.where(side * (x - 0.5) > 0, np.nan, x)
    settings = {"encoder": "mlp", "decoder": "mlp", "n_images": 2000, "n_impute_samples": 20}
    settings |= {"observation": "gaussian"}
    filled = imputer("self-masking-known", sign=side, **settings).fit_transform(holes)
    missing = np.isnan(holes)
    assert missing.mean() > 0.15
    assert (side * (filled - 0.5) > 0)[missing].mean() > 0.9
    assert np.sqrt(np.mean((filled - x)[missing] ** 2)) < 0.1


def test_intervals_hold_what_they_should():
    x = without_dominant(images())
    model = imputer().fit(x)
    low, high = np.moveaxis(model.predict_interval(x[:4], 0.8), -1, 0)
    hidden = np.isnan(x[:4])
    assert (low <= high).all()
    assert (low[hidden] < high[hidden]).any()
    assert np.array_equal(low[~hidden], x[:4][~hidden])


@pytest.mark.parametrize("estimator", ["median", "decoder-mean"])
def test_other_estimators_fill_differently(estimator):
    x = without_dominant(images())
    model = imputer().fit(x)
    mean = model.transform(x)
    other = model.set_params(estimator=estimator).transform(x)
    assert_imputed(other, x)
    assert not np.allclose(other, mean)


def test_a_seed_fixes_everything_and_watching_changes_nothing():
    x = without_dominant(images())
    steps = []

    def watch(step, model):
        steps.append(step)
        torch.rand(1)
        assert not np.isnan(model.transform(x[:2])).any()

    first = imputer().fit(x, on_evaluation=watch)
    second = imputer().fit(x)
    assert np.array_equal(first.transform(x), second.transform(x))
    assert first.history_ == second.history_
    assert steps == sorted(set(steps))
    assert steps[-1] == 5
    other = imputer(random_state=1).fit(x)
    assert not np.array_equal(first.transform(x), other.transform(x))


def test_global_generators_are_left_alone():
    before = torch.get_rng_state()
    imputer().fit_transform(without_dominant(images()))
    assert torch.equal(torch.get_rng_state(), before)


def test_images_without_holes_come_back():
    x = images().astype(np.float32)
    model = imputer().fit(x)
    assert np.array_equal(model.transform(x), x)
    assert model.transform(x).dtype == np.float32
    assert model.sample(x, 2).shape == (2, *x.shape)


def test_rows_with_and_without_holes_keep_their_order():
    x = images()
    x[3, 0, 0, 0] = x[7, 1, 2, 3] = np.nan
    assert_imputed(imputer().fit_transform(x), x)


def test_images_are_filled_in_parts_with_noise_of_their_own(monkeypatch):
    x = without_dominant(images(4))
    fitted = imputer().fit(x)
    alone = fitted.sample(x[:2], 3)
    monkeypatch.setattr(image_imputer, "IMAGES_PER_SEED", 2)
    parts = fitted.sample(np.concatenate([x[:2], x[:2]]), 3)
    assert_imputed(parts, np.concatenate([x[:2], x[:2]]))
    assert np.array_equal(parts[:, :2], alone)
    assert not np.array_equal(parts[:, 2:], alone)


def test_adapting_keeps_the_decoder_and_learns_the_rest():
    x = images()
    model = imputer().fit(without_dominant(x, 2))
    before = {k: v.clone() for k, v in model.model_.state_dict().items()}
    red = without_dominant(x, 0)
    adapted = model.adapt(red)
    assert_imputed(adapted.transform(red), red)
    assert adapted is not model
    after = adapted.model_.state_dict()
    kept = [k for k in after if k.startswith("observation")]
    assert all(torch.equal(after[k], before[k]) for k in kept)
    for part in ("encoder", "mechanism"):
        assert any(not torch.equal(after[k], before[k]) for k in after if k.startswith(part))
    assert all(torch.equal(v, before[k]) for k, v in model.model_.state_dict().items())
    assert adapted.model_.mechanism.learns.tolist() == [1, 0, 0]


def test_a_saved_imputer_imputes_alike(tmp_path):
    x = without_dominant(images())
    model = imputer().fit(x)
    model.save(tmp_path / "model")
    loaded = ImageImputer.load(tmp_path / "model")
    assert np.array_equal(loaded.transform(x), model.transform(x))
    assert loaded.get_params() == model.get_params()
    assert loaded.history_ == model.history_
    assert loaded.adapt(x).image_shape_ == (3, 8, 8)


def test_what_cannot_be_saved_or_loaded_says_so(tmp_path):
    x = without_dominant(images())

    def own(shape):
        return Convolutional(shape.n_features, image_shape=shape)

    with pytest.raises(TypeError, match=r"mechanism.*callables"):
        imputer(own).fit(x).save(tmp_path / "a")
    with pytest.raises(ModelFileError, match="does not exist"):
        ImageImputer.load(tmp_path / "a")


def test_an_interrupted_training_goes_on(tmp_path):
    x = without_dominant(images())
    whole = imputer(evaluate_every=1).fit(x)

    def interrupt(step, model):
        if step == 3:
            raise KeyboardInterrupt

    settings = {"evaluate_every": 1, "checkpoint": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        imputer(**settings).fit(x, on_evaluation=interrupt)
    resumed = imputer(**settings).fit(x)
    assert resumed.history_ == whole.history_
    assert np.array_equal(resumed.transform(x), whole.transform(x))


def test_parameters_can_be_cloned():
    model = imputer("self-masking-known", sign=[1, -1, 1])
    assert clone(model).get_params() == model.get_params()
    x = images()
    x[:, 1][x[:, 1] < 0.4] = np.nan
    signs = model.fit(x).model_.mechanism.sign.reshape(3, 64)
    assert signs[:, 0].tolist() == [1, -1, 1]
    assert (signs == signs[:, :1]).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (images()[0], r"\(number, channels, height, width\).*X\[:, None\]"),
        (images()[:0], "got shape"),
        (255 * images(), "scale them, for example X / 255"),
        ((255 * images()).astype(np.uint8), "X / 255"),
        (images() - 1, r"must lie in \[0, 1\]"),
        (np.full((3, 3, 8, 8), np.inf), r"must lie in \[0, 1\]"),
        (np.full((3, 3, 8, 8), np.nan), "nothing to learn from"),
        (np.full((3, 3, 8, 8), "a"), "array of numbers"),
        (images(size=12)[..., :8], "multiples of 8; got 12 x 8.*encoder='mlp'"),
    ],
)
def test_images_that_cannot_be_used_say_why(wrong, message):
    with pytest.raises(ValueError, match=message):
        imputer().fit(wrong)


def test_images_of_another_shape_are_refused():
    model = imputer().fit(images())
    with pytest.raises(ValueError, match=r"fitted to images of .* \(3, 8, 8\); got \(3, 16, 16\)"):
        model.transform(images(size=16))
    with pytest.raises(ValueError, match="fitted to images"):
        model.adapt(images(channels=1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mechanism": "auto"}, "mechanism must be one of"),
        ({"observation": "student-t"}, "observation must be one of 'gaussian', 'colour-chain'"),
        ({"encoder": "resnet"}, "encoder must be one of 'convolutional', 'mlp'"),
        ({"precision": "float16"}, "precision must be one of 'float32', 'bfloat16'"),
        ({"batch_size": 0}, "batch_size must be a whole number at least 1"),
        ({"n_images": 0}, "n_images must be"),
        ({"learning_rate": 0}, "learning_rate must be a number above 0"),
        ({"validation_fraction": 1}, "validation_fraction must be"),
        ({"estimator": "mode"}, "estimator must be one of"),
        ({"device": "tpu"}, "device must be"),
    ],
)
def test_a_bad_parameter_is_answered_with_good_ones(settings, message):
    with pytest.raises(ValueError, match=message):
        imputer(**settings).fit(images())


def test_integers_are_numbers_too():
    assert read_images(np.ones((1, 1, 2, 2), dtype=int)).dtype == np.float64
