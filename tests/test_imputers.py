import copy
import functools
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from notmiwae import MIWAEImputer, NotMIWAEImputer
from notmiwae.encoders import ENCODERS, MaskConcatenating
from notmiwae.ensembles import Course, Trained
from notmiwae.mechanisms import MECHANISMS, FactorisedMechanism, Linear, SelfMasking
from notmiwae.mixing import BY_SCHEMA
from notmiwae.networks import DECODERS
from notmiwae.observations import OBSERVATIONS, Gaussian
from notmiwae.selection import CANDIDATES
from notmiwae.training import History, one_cycle

SMALL = {
    "hidden": (8,),
    "n_latent": 2,
    "n_samples": 2,
    "max_steps": 6,
    "n_models": 1,
    "n_impute_samples": 20,
    "random_state": 0,
}
BOUNDS = {"truncated-normal": {"bounds": (-20, 20)}}


def table(n_rows=40, seed=0):
    """Correlated columns, of which the first two miss high values and the third none."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, 1)) + 0.5 * rng.normal(size=(n_rows, 3)) + [1, 5, -3]
    x[x[:, 0] > 1.3, 0] = np.nan
    x[x[:, 1] > 5.3, 1] = np.nan
    return x


def binary(n_rows=40):
    x = (table(n_rows) > np.array([0.5, 4.5, -3])).astype(float)
    x[np.isnan(table(n_rows))] = np.nan
    return x


def codes(n_rows=40):
    return np.round(table(n_rows) - [1, 5, -3]).clip(-1, 1) + 1


def imputer(mechanism="self-masking", **settings):
    return NotMIWAEImputer(mechanism, **{**SMALL, **settings})


def assert_imputed(filled, x):
    seen = ~np.isnan(x)
    assert filled.shape[-2:] == x.shape
    assert np.isfinite(filled).all()
    assert np.array_equal(filled[..., seen], np.broadcast_to(x[seen], filled[..., seen].shape))


@parametrize_with_checks(
    [
        NotMIWAEImputer("self-masking", **SMALL),
        MIWAEImputer(**SMALL),
    ]
)
def test_the_imputers_keep_scikit_learns_conventions(estimator, check):
    check(estimator)


@pytest.mark.parametrize("mechanism", [*MECHANISMS, "auto"])
@pytest.mark.parametrize("observation", OBSERVATIONS)
@pytest.mark.parametrize("integrate", ["auto", "sample"])
def test_every_pair_trains_on_a_small_table_or_says_what_would(mechanism, observation, integrate):
    x = {"bernoulli": binary, **dict.fromkeys(BY_SCHEMA, codes)}.get(observation, table)()
    settings = {"observation": observation, "integrate": integrate, **BOUNDS.get(observation, {})}
    model = imputer(mechanism, **settings)
    factorised = mechanism == "auto" or issubclass(MECHANISMS[mechanism], FactorisedMechanism)
    if not OBSERVATIONS[observation].continuous and not (factorised and integrate == "auto"):
        with pytest.raises(ValueError, match="self-masking mechanism with integrate='auto'"):
            model.fit(x)
        return
    assert_imputed(model.fit_transform(x), x)
    assert_imputed(model.sample(x, 3), x)
    assert np.isfinite(model.predict_interval(x)).all() == (observation != "categorical")
    assert np.isfinite(model.score(x))
    assert np.isfinite(model.history_.bound).all()
    why = model.model_.mechanism
    closed = observation == "gaussian" and getattr(why, "closed_form", False)
    picks = integrate == "auto" and isinstance(why, SelfMasking) and not closed
    assert_moves(model.model_, x.shape[1], needs_values=picks or observation == "student-t")


def assert_moves(model, n_features, needs_values):
    """On a device without values, as on a GPU, only scalars of another device may take part.

    Where it needs values, for picking cells or gamma variates, it stops at that.
    """
    x, mask = torch.zeros(2, 5, n_features, device="meta")
    moved = copy.deepcopy(model).to("meta")
    if needs_values:
        with pytest.raises((NotImplementedError, RuntimeError), match=r"nonzero|item\(\)"):
            moved(x, mask, 3)
    else:
        assert moved(x, mask, 3).log_weights.device == x.device


@pytest.mark.parametrize(("encoder", "decoder"), [*product(ENCODERS, DECODERS)])
@pytest.mark.parametrize("scale", ["column", "network"])
def test_every_network_trains(encoder, decoder, scale):
    model = imputer(encoder=encoder, decoder=decoder, scale=scale)
    assert_imputed(model.fit_transform(table()), table())


def test_training_recovers_what_self_masking_hides():
    """Values above the mean are missing; the column mean is far below these."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(500, 1))
    truth = z * [1.0, 1.0, -1.0] + 0.3 * rng.normal(size=(500, 3))
    x = truth.copy()
    x[:, 0][truth[:, 0] > 0] = np.nan
    hidden = np.isnan(x)

    def error(model):
        return np.sqrt(np.mean((model.fit_transform(x) - truth)[hidden] ** 2))

    settings = {"n_latent": 1, "max_steps": 300, "n_samples": 5, "n_impute_samples": 100}
    settings |= {"learning_rate": 0.01, "mechanism_rate": 10.0}
    mean = error(SimpleImputer())
    assert error(imputer("self-masking-known", **settings)) < 0.45 * mean
    assert error(imputer("self-masking", **settings)) < 0.45 * mean


@pytest.mark.slow
def test_columns_that_say_nothing_of_each_other_show_the_mechanism():
    """Of a normal column cut off at its mean, the model sees one half and imputes the other."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(1500, 2)) + 10
    x = truth.copy()
    x[:, 0][truth[:, 0] > 10] = np.nan
    hidden = np.isnan(x)
    settings = {"n_latent": 1, "decoder": "linear", "max_steps": 3000, "n_impute_samples": 200}
    settings |= {"encoder": "mask-concatenating", "learning_rate": 0.01, "mechanism_rate": 10}
    model = imputer("self-masking-known", **{**settings, "n_samples": 5}).fit(x)
    settings.pop("mechanism_rate")
    assert model.transform(x)[hidden].mean() == pytest.approx(truth[hidden].mean(), abs=0.35)
    assert MIWAEImputer(**{**SMALL, **settings}).fit(x).transform(x)[hidden].mean() < 10
    draws = model.sample(x, 20)[:, hidden]
    assert draws.std() == pytest.approx(truth[hidden].std(), abs=0.3)
    low, high = model.predict_interval(x, 0.9)[hidden].T
    assert ((low <= truth[hidden]) & (truth[hidden] <= high)).mean() > 0.8


def test_miwae_is_not_miwae_with_an_ignorable_mechanism():
    x = table()
    miwae = MIWAEImputer(**SMALL).fit(x)
    same = imputer("ignorable").fit(x)
    assert np.array_equal(miwae.transform(x), same.transform(x))
    assert miwae.score(x) == same.score(x)


def test_an_imputer_works_in_a_pipeline():
    x = table()
    pipeline = make_pipeline(StandardScaler(), imputer(), LinearRegression())
    assert np.isfinite(pipeline.fit(x, np.arange(40)).predict(x)).all()


def test_a_grid_over_mechanisms_is_searched_by_score():
    grid = {"mechanism": ["ignorable", "self-masking"], "n_latent": np.arange(1, 3)}
    search = GridSearchCV(imputer(), grid, cv=2, error_score="raise").fit(table(60))
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_["mechanism"] in grid["mechanism"]
    assert_imputed(search.best_estimator_.transform(table()), table())


def test_the_score_is_higher_for_the_mechanism_that_made_the_holes():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 1)) + 0.3 * rng.normal(size=(600, 3))
    x[:, 0][x[:, 0] > 0.3] = np.nan
    settings = {"n_latent": 1, "max_steps": 300, "n_samples": 5, "n_impute_samples": 100}
    scores = {
        sign: imputer("self-masking-known", sign=sign, **settings).fit(x[:400]).score(x[400:])
        for sign in (1, -1)
    }
    assert scores[1] > scores[-1] + 0.1


def test_clones_are_unfitted_and_equal():
    model = imputer(sign=[1, -1, 1], bounds=(0, 1)).fit(table())
    copy = clone(model)
    assert str(copy.get_params()) == str(model.get_params())
    with pytest.raises(NotFittedError):
        copy.transform(table())


@pytest.mark.parametrize(
    "call",
    [
        lambda model: model.transform(table()),
        lambda model: model.sample(table()),
        lambda model: model.predict_interval(table()),
        lambda model: model.score(table()),
        lambda model: model.get_feature_names_out(),
        lambda model: model.save("nowhere"),
    ],
)
def test_nothing_works_before_fit(call):
    with pytest.raises(NotFittedError):
        call(imputer())


def test_factories_stand_for_names():
    x = table()
    named = imputer("linear", encoder="mask-concatenating", decoder="mlp").fit(x)
    made = imputer(
        Linear,
        encoder=functools.partial(MaskConcatenating, hidden=(8,), activation="silu"),
        decoder=functools.partial(DECODERS["mlp"], hidden=(8,), activation="silu"),
        observation=lambda n_features, decoder: Gaussian(n_features, decoder),
        schedule=one_cycle,
    )
    named.set_params(activation="silu").fit(x)
    assert np.array_equal(named.transform(x), clone(made).fit(x).transform(x))


def test_frames_come_back_as_frames():
    frame = pd.DataFrame(table(), columns=["a", "b", "c"], index=np.arange(40) + 7)
    model = imputer().set_output(transform="pandas")
    filled = model.fit_transform(frame)
    assert filled.columns.tolist() == ["a", "b", "c"]
    assert filled.index.equals(frame.index)
    assert_imputed(filled.to_numpy(), frame.to_numpy())


def test_polars_frames_come_back_as_polars_frames():
    polars = pytest.importorskip("polars")
    x = table()
    columns = {name: [None if v != v else v for v in x[:, j]] for j, name in enumerate("abc")}
    frame = polars.DataFrame(columns)
    filled = imputer().set_output(transform="polars").fit_transform(frame)
    assert isinstance(filled, polars.DataFrame)
    assert filled.columns == ["a", "b", "c"]
    assert_imputed(filled.to_numpy(), x)


def test_a_frame_and_its_array_are_imputed_alike():
    x = table()
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    assert np.array_equal(imputer().fit_transform(frame), imputer().fit_transform(x))


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("indicator", [True, False])
def test_names_of_outputs_match_what_is_returned(keep, indicator):
    frame = pd.DataFrame(table(), columns=["a", "b", "c"]).assign(d=np.nan)[["d", "a", "b", "c"]]
    model = imputer(keep_empty_features=keep, add_indicator=indicator)
    with pytest.warns(UserWarning, match=r"nothing is observed in column\(s\) \['d'\]"):
        model.fit(frame)
    filled = model.transform(frame)
    names = model.get_feature_names_out().tolist()
    expected = ["d", "a", "b", "c"] if keep else ["a", "b", "c"]
    if indicator:
        expected += ["missingindicator_d", "missingindicator_a", "missingindicator_b"]
    assert names == expected
    assert filled.shape == (40, len(expected))
    assert not np.isnan(filled).any()
    if keep:
        assert (filled[:, 0] == 0).all()
    if indicator:
        assert np.array_equal(filled[:, -2:] == 1, frame[["a", "b"]].isna().to_numpy())
    assert model.set_output(transform="pandas").transform(frame).columns.tolist() == expected


def test_names_of_outputs_without_names_of_inputs():
    model = imputer().fit(table())
    assert model.get_feature_names_out().tolist() == ["x0", "x1", "x2"]
    assert model.get_feature_names_out(["a", "b", "c"]).tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match="input_features should have length"):
        model.get_feature_names_out(["a"])


def test_another_stand_in_for_missing_values():
    x = table()
    coded = np.nan_to_num(x, nan=-1)
    model = imputer(missing_values=-1)
    filled = model.fit_transform(coded)
    assert_imputed(filled, x)
    assert np.array_equal(filled, imputer().fit_transform(x))
    assert np.array_equal(coded, np.nan_to_num(x, nan=-1))


def test_nan_beside_another_stand_in_is_an_error():
    with pytest.raises(ValueError, match="NaN"):
        imputer(missing_values=-1).fit(table())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_floating_types_are_kept(dtype):
    x = table().astype(dtype)
    model = imputer().fit(x)
    assert model.transform(x).dtype == dtype
    assert model.sample(x, 2).dtype == dtype
    assert_imputed(model.transform(x), x)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, bool])
def test_whole_numbers_and_booleans_can_be_fitted_and_imputed(dtype):
    x = np.random.default_rng(0).integers(0, 2, (30, 3)).astype(dtype)
    model = imputer()
    filled = model.fit_transform(x)
    assert np.array_equal(filled, x)
    holed = x.astype(float)
    holed[0, 0] = np.nan
    assert_imputed(model.transform(holed), holed)


def test_whole_numbers_with_a_stand_in():
    x = np.random.default_rng(0).integers(0, 9, (30, 3))
    x[::4, 1] = -1
    filled = imputer(missing_values=-1).fit_transform(x)
    assert np.array_equal(filled[x != -1], x[x != -1])
    assert np.isfinite(filled).all()


def test_nullable_types_of_pandas():
    frame = pd.DataFrame(
        {
            "a": pd.array([1, 2, pd.NA, 4, 5, 6] * 5, dtype="Int64"),
            "b": pd.array([True, pd.NA, False] * 10, dtype="boolean"),
            "c": pd.array([0.5, pd.NA, 2.5] * 10, dtype="Float64"),
        }
    )
    numbers = frame[["a", "c"]]
    x = numbers.to_numpy(dtype=float, na_value=np.nan)
    assert_imputed(imputer().fit_transform(numbers), x)
    filled = imputer().fit_transform(frame)
    assert filled.dtypes.equals(frame.dtypes)
    assert not filled.isna().any(axis=None)


def test_none_in_an_array_of_objects_is_missing():
    x = table().astype(object)
    x[np.isnan(table())] = None
    assert_imputed(imputer().fit_transform(x).astype(float), table())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.array([[1.0, np.inf], [2.0, 3.0]]), "infinity"),
        (np.array([[1.0, -np.inf], [2.0, 3.0]]), "infinity"),
        (np.array([[1 + 2j, 3], [2.0, 3.0]]), "[Cc]omplex"),
        (np.array([["a", "b"], ["c", "d"]]), "convert"),
        (np.zeros((0, 3)), "0 sample"),
        (np.zeros((3, 0)), "0 feature"),
        (np.zeros(3), "2D array"),
        (np.zeros((2, 2, 2)), "dim"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(wrong, message):
    with pytest.raises(ValueError, match=message):
        imputer().fit(wrong)


def test_rows_of_another_width_are_refused():
    with pytest.raises(ValueError, match="3 features"):
        imputer().fit(table()).transform(table()[:, :2])


# With a hidden layer, a mechanism may extrapolate anything for a mask that it never saw.
@pytest.mark.parametrize(
    "mechanism", [*sorted(set(MECHANISMS) - {"nonlinear", "convolutional-2"}), "auto"]
)
def test_a_column_complete_at_fit_is_imputed_sensibly(mechanism):
    x = np.random.default_rng(0).normal(size=(200, 1)) * [1.0, 1.0, -1.0]
    x = x + 0.1 * np.random.default_rng(1).normal(size=x.shape) + [3, 0, 0]
    holed = x.copy()
    holed[:, 1][x[:, 1] > 0.5] = np.nan
    model = imputer(mechanism, n_latent=1, max_steps=200).fit(holed)
    truth = x[:50].copy()
    rows = truth.copy()
    rows[:, 0] = np.nan
    rows[:, 1:] = x[:50, 1:]
    filled = model.transform(rows)[:, 0]
    assert np.sqrt(np.mean((filled - truth[:, 0]) ** 2)) < 0.7
    assert np.abs(model.sample(rows, 20)[..., 0] - 3).max() < 6


@pytest.mark.parametrize("mechanism", [*MECHANISMS, "auto"])
def test_odd_columns_are_imputed(mechanism):
    """A single missing value, a single observed one, and a constant column with a hole."""
    x = table()
    extra = np.full((40, 3), 2.0)
    extra[:, 0] = np.random.default_rng(0).normal(size=40)
    extra[3, 0] = extra[4, 2] = np.nan
    extra[1:, 1] = np.nan
    x = np.hstack([x, extra])
    filled = imputer(mechanism, max_steps=40).fit_transform(x)
    assert_imputed(filled, x)
    assert abs(filled[3, 3]) < 10
    assert np.abs(filled[:, 4] - 2).max() < 10


@pytest.mark.parametrize("mechanism", [*MECHANISMS, "auto"])
@pytest.mark.parametrize(
    "x",
    [
        np.where(np.arange(40)[:, None] % 4 == 0, np.nan, table()),
        np.nan_to_num(table()),
        np.array([[1.0, 2.0, 3.0]]),
        np.array([[1.0, np.nan, 3.0], [2.0, 5.0, np.nan]]),
        table()[:, :1],
        np.ones((20, 3)),
    ],
    ids=["empty-rows", "complete", "one-row", "two-rows", "one-column", "constant"],
)
def test_odd_tables_are_imputed(mechanism, x):
    settings = {"validation_fraction": 0.5} if len(x) < 3 else {}
    model = imputer(mechanism, **settings)
    assert_imputed(model.fit_transform(x), x)
    assert_imputed(model.sample(x, 2), x)
    assert np.isfinite(model.score(x))
    assert_imputed(model.transform(np.full_like(x[:1], np.nan)), np.full_like(x[:1], np.nan))


@pytest.mark.parametrize("keep", [True, False])
def test_one_row_with_a_hole_has_a_column_with_nothing_observed(keep):
    x = np.array([[1.0, np.nan, 3.0]])
    with pytest.warns(UserWarning, match=r"nothing is observed in column\(s\) \[1\]"):
        filled = imputer(keep_empty_features=keep).fit_transform(x)
    assert filled.tolist() == ([[1, 0, 3]] if keep else [[1, 3]])


def test_a_table_with_nothing_observed_is_refused():
    with pytest.raises(ValueError, match="every value is missing"):
        imputer().fit(np.full((5, 3), np.nan))


def test_a_known_sign_per_column_skips_columns_with_nothing_observed():
    x = np.insert(table(), 1, np.nan, axis=1)
    with pytest.warns(UserWarning, match="nothing is observed"):
        model = imputer("self-masking-known", sign=[1, 1, -1, -1]).fit(x)
    assert model.model_.mechanism.sign.tolist() == [1, -1, -1]


@pytest.mark.parametrize("value", [1e6, 1e20, 1e40])
@pytest.mark.parametrize("mechanism", ["self-masking", "self-masking-quadratic", "linear"])
def test_a_far_out_value_leaves_no_nan(mechanism, value):
    x = table()
    model = imputer(mechanism, max_steps=30).fit(x)
    rows = np.array([[np.nan, np.nan, value], [np.nan, -value, np.nan]])
    assert_imputed(model.transform(rows), rows)
    assert np.isfinite(model.predict_interval(rows)).all()
    x[0, 2] = value
    assert_imputed(imputer(mechanism).fit_transform(x), x)


def test_bounded_values_stay_within_their_bounds():
    rng = np.random.default_rng(0)
    x = np.exp(rng.normal(size=(200, 2)))
    x[:, 1] = 100 + 1 / (1 + x[:, 0])
    x[x[:, 0] > 2, 0] = np.nan
    x[::3, 1] = np.nan
    low, high = np.array([0.0, 100.0]), np.array([np.inf, 101.0])
    model = imputer(observation="truncated-normal", bounds=(low, high), max_steps=60).fit(x)
    for filled in (model.transform(x), model.sample(x, 30), model.predict_interval(x, 0.999)):
        values = filled if filled.shape[-2:] == x.shape else np.moveaxis(filled, -1, 0)
        assert (values >= low).all()
        assert (values <= high).all()


def test_values_out_of_bounds_are_named():
    with pytest.raises(
        ValueError, match=r"values within `bounds` only, and column\(s\) \[1\] hold others"
    ):
        imputer(observation="truncated-normal", bounds=(-20, 5)).fit(table())


def test_values_out_of_bounds_are_named_in_new_rows_too():
    model = imputer(observation="truncated-normal", bounds=(-20, 20)).fit(table())
    with pytest.raises(
        ValueError, match=r"values within `bounds` only, and column\(s\) \[1\] hold others"
    ):
        model.transform([[np.nan, 30.0, 0.0]])


def test_binary_draws_are_binary_and_new_rows_have_to_be():
    x = binary()
    model = imputer(observation="bernoulli").fit(x)
    assert np.isin(model.sample(x, 10), [0, 1]).all()
    filled = model.transform(x)
    assert ((filled >= 0) & (filled <= 1)).all()
    with pytest.raises(ValueError, match="takes values 0 and 1 only"):
        model.transform([[np.nan, 0.5, 0.0]])
    with pytest.raises(ValueError, match="takes values 0 and 1 only"):
        imputer(observation="bernoulli").fit(table())


def test_columns_in_errors_are_counted_as_in_the_table():
    x = np.insert(binary(), 0, np.nan, axis=1)
    x[0, 2] = 0.5
    with (
        pytest.warns(UserWarning, match="nothing is observed"),
        pytest.raises(ValueError, match=r"column\(s\) \[2\] hold others"),
    ):
        imputer(observation="bernoulli").fit(x)


@pytest.mark.parametrize(
    ("parameter", "value", "allowed"),
    [
        ("mechanism", "selfmask", "'ignorable'.*'self-masking'.*or a callable"),
        ("mechanism", 3, "'ignorable'"),
        ("sign", 0, r"\+1"),
        ("sign", "up", r"\+1"),
        ("sign", [1, -1], r"\+1"),
        ("integrate", "exact", "'auto', 'sample'"),
        ("observation", "poisson", "'gaussian'.*or a callable"),
        ("scale", "row", "'column', 'network', 'shared'"),
        ("scale_floor", 0, "above 0"),
        ("bounds", None, "low, high"),
        ("bounds", (2, 1), "low < high"),
        ("bounds", 3, "low"),
        ("bounds", (1, 2, 3), "low"),
        ("bounds", ([0, 0], [1, 1]), "low"),
        ("bounds", ("a", "b"), "low"),
        ("encoder", "transformer", "'zero-fill'.*or a callable"),
        ("decoder", "cnn", "'linear'.*or a callable"),
        ("n_latent", 0, "at least 1"),
        ("n_latent", 1.5, "whole"),
        ("hidden", (0,), "hidden"),
        ("hidden", 8, "hidden"),
        ("hidden", "8", "hidden"),
        ("hidden", (8.5,), "hidden"),
        ("activation", "swish", "'relu'"),
        ("n_samples", 0, "at least 1"),
        ("max_steps", -1, "at least 1"),
        ("max_steps", True, "whole"),
        ("batch_size", 0, "at least 1"),
        ("learning_rate", 0, "above 0"),
        ("learning_rate", float("nan"), "above 0"),
        ("learning_rate", float("inf"), "learning_rate"),
        ("mechanism_rate", -1, "above 0"),
        ("weight_decay", -1, "at least 0"),
        ("optimizer", "sgd", "'adam', 'adamw'"),
        ("schedule", "cosine", "'one-cycle', 'constant', or a callable"),
        ("clip_norm", 0, "above 0"),
        ("validation_fraction", 1, "below 1"),
        ("validation_fraction", -0.1, "at least 0"),
        ("n_models", 0, "at least 1"),
        ("evaluate_every", 0, "at least 1"),
        ("patience", 0, "at least 1"),
        ("n_impute_samples", 0, "at least 1"),
        ("estimator", "mode", "'conditional-mean', 'decoder-mean', 'median'"),
        ("missing_values", "NA", "missing_values"),
        ("missing_values", None, "missing_values"),
        ("device", "abacus", "'auto', 'cpu' or 'cuda'"),
        ("device", "cuda:99", "device"),
        ("device", None, "'auto', 'cpu' or 'cuda'"),
    ],
)
def test_a_bad_hyper_parameter_is_named_with_what_is_allowed(parameter, value, allowed):
    settings = {"mechanism": "self-masking-known", **SMALL, parameter: value}
    if parameter == "bounds":
        settings["observation"] = "truncated-normal"
    with pytest.raises(ValueError, match=f"(?s)({parameter}.*)?{allowed}") as error:
        NotMIWAEImputer(**settings).fit(table())
    message = str(error.value)
    assert parameter in message
    assert repr(value) in message or (parameter == "bounds" and value is None)


@pytest.mark.parametrize("n_draws", [0, -1, 1.5, "x"])
def test_a_bad_number_of_draws_is_named(n_draws):
    with pytest.raises(ValueError, match="n_draws must be a whole number at least 1; got"):
        imputer().fit(table()).sample(table(), n_draws)


@pytest.mark.parametrize("coverage", [0, 1, 90, "x"])
def test_a_bad_coverage_is_named(coverage):
    with pytest.raises(ValueError, match="coverage must be a number above 0 and below 1; got"):
        imputer().fit(table()).predict_interval(table(), coverage)


def test_hyper_parameters_are_checked_in_fit_and_not_before():
    assert imputer(n_samples=-1).n_samples == -1
    assert clone(imputer(learning_rate="fast")).learning_rate == "fast"


@pytest.mark.parametrize("mechanism", ["self-masking", "linear", "auto"])
@pytest.mark.parametrize("n_models", [1, 2])
def test_one_random_state_one_result(mechanism, n_models):
    x = table()
    models = [
        imputer(mechanism, n_models=n_models, random_state=state).fit(x) for state in (1, 1, 2)
    ]
    assert models[0].history_ == models[1].history_
    for method in ("transform", "sample", "predict_interval", "score"):
        first, second, third = (getattr(model, method)(x) for model in models)
        assert np.array_equal(first, second)
        assert not np.array_equal(first, third)
        assert np.array_equal(first, getattr(models[0], method)(x))


def test_a_random_state_object_is_drawn_from():
    x = table()
    first, second = (
        imputer(random_state=np.random.RandomState(3)).fit_transform(x) for _ in range(2)
    )
    assert np.array_equal(first, second)


def test_the_global_generators_are_left_as_they_were():
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    x = table()
    model = imputer().fit(x)
    model.transform(x)
    model.sample(x)
    model.predict_interval(x)
    model.score(x)
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])  # noqa: NPY002


def test_fitting_again_forgets_the_first_table():
    model = imputer(add_indicator=True).fit(np.random.default_rng(0).normal(size=(30, 5)))
    again = model.fit(table()).transform(table())
    assert np.array_equal(again, imputer(add_indicator=True).fit(table()).transform(table()))


def test_rows_are_imputed_alike_alone_or_among_others():
    """But for the noise of the draws, which shrinks with their number."""
    x = table()
    model = imputer(n_impute_samples=4000, max_steps=40).fit(x)
    whole, alone = model.transform(x), np.vstack([model.transform(row[None]) for row in x])
    np.testing.assert_allclose(whole, alone, atol=0.15)


@pytest.mark.parametrize("estimator", ["conditional-mean", "median", "decoder-mean"])
def test_every_estimator_fills_all_holes(estimator):
    assert_imputed(imputer(estimator=estimator).fit_transform(table()), table())


@pytest.mark.parametrize("estimator", ["conditional-mean", "median"])
def test_batches_are_imputed_as_the_whole_table_is(monkeypatch, estimator):
    monkeypatch.setattr("notmiwae.latent_imputer.ROWS_PER_SEED", 8)
    x = table()
    model = imputer(estimator=estimator).fit(x)
    batches = [x[:16], x[16:24], x[24:]]
    whole = np.concatenate(list(model.transform_batches(batches)))
    assert np.array_equal(whole, model.transform(x))
    draws = np.concatenate(list(model.transform_batches(batches, n_draws=3)), axis=1)
    assert np.array_equal(draws, model.sample(x, 3))
    others = np.concatenate(list(model.transform_batches([x[:5], x[5:]])))
    assert_imputed(others, x)
    assert not np.array_equal(others, whole)


def test_rows_of_different_batches_have_noise_of_their_own(monkeypatch):
    monkeypatch.setattr("notmiwae.latent_imputer.ROWS_PER_SEED", 8)
    x = table()
    model = imputer().fit(x)
    twice = np.tile(x[x[:, 0] > 1.0][:1] * [np.nan, 1, 1], (16, 1))
    filled = model.transform(twice)[:, 0]
    assert len(np.unique(filled)) == 16


def test_estimators_agree_with_the_draws_that_they_summarise():
    x = table(200)
    settings = {"max_steps": 200, "n_impute_samples": 500}
    model = imputer("self-masking-known", **settings).fit(x)
    draws = model.sample(x, 2000)
    mean = model.transform(x)
    median = model.set_params(estimator="median").transform(x)
    decoder = model.set_params(estimator="decoder-mean").transform(x)
    scale = draws.std(0)[np.isnan(x)].mean()
    assert np.abs(mean - draws.mean(0)).max() < 0.3 * scale
    assert np.abs(median - np.median(draws, 0)).max() < 0.3 * scale
    assert np.abs(decoder - draws.mean(0))[np.isnan(x)].mean() > 0.05 * scale


def test_draws_differ_where_values_are_missing_only():
    x = table()
    draws = imputer().fit(x).sample(x, 7)
    assert draws.shape == (7, 40, 3)
    assert_imputed(draws, x)
    assert np.array_equal(np.ptp(draws, axis=0) > 0, np.isnan(x))


def test_intervals_are_ordered_nested_and_tight_where_observed():
    x = table()
    model = imputer().fit(x)
    narrow, wide = model.predict_interval(x, 0.5), model.predict_interval(x, 0.95)
    assert narrow.shape == wide.shape == (40, 3, 2)
    seen = ~np.isnan(x)
    assert np.array_equal(narrow[seen], np.repeat(x[seen][:, None], 2, axis=1))
    assert (narrow[~seen][:, 0] < narrow[~seen][:, 1]).all()
    assert (wide[..., 0] <= narrow[..., 0]).all()
    assert (wide[..., 1] >= narrow[..., 1]).all()


def test_intervals_hold_as_many_draws_as_they_claim():
    x = table()
    model = imputer(n_impute_samples=200).fit(x)
    low, high = np.moveaxis(model.predict_interval(x, 0.8), -1, 0)
    draws = model.sample(x, 1000)
    inside = ((low <= draws) & (draws <= high))[:, np.isnan(x)].mean(0)
    assert inside.mean() == pytest.approx(0.8, abs=0.03)


def test_the_score_is_the_bound_of_the_rows_given():
    x = table()
    model = imputer(n_impute_samples=200).fit(x)
    halves = [model.score(x[:20]), model.score(x[20:])]
    assert model.score(x) == pytest.approx(np.mean(halves), abs=0.2)
    assert isinstance(model.score(x), float)


def test_held_out_rows_decide_which_weights_are_kept():
    history = imputer(validation_fraction=0.3, evaluate_every=2).fit(table()).history_
    assert history.step == [2, 4, 6]
    assert history.held_out_bound == max(history.validation_bound)
    assert imputer(validation_fraction=0).fit(table()).history_.validation_bound == []


def test_the_input_is_not_changed():
    x = table()
    before = x.copy()
    imputer().fit_transform(x)
    np.testing.assert_array_equal(x, before)


def test_an_interrupted_fit_goes_on(monkeypatch, tmp_path):
    from notmiwae import training

    descend, taken = training._Run.descend, []

    def interrupted(self, *args):
        taken.append(1)
        if len(taken) > 4:
            raise KeyboardInterrupt
        descend(self, *args)

    settings = {"evaluate_every": 2, "checkpoint": tmp_path / "run", "n_models": 2}
    with monkeypatch.context() as patch:
        patch.setattr(training._Run, "descend", interrupted)
        with pytest.raises(KeyboardInterrupt):
            imputer(**settings).fit(table())
    resumed = imputer(**settings).fit(table())
    whole = imputer(**{**settings, "checkpoint": None}).fit(table())
    assert np.array_equal(resumed.transform(table()), whole.transform(table()))


def test_a_checkpoint_of_another_table_is_not_taken_for_this_ones(tmp_path):
    imputer(checkpoint=tmp_path / "run").fit(table())
    with pytest.raises(ValueError, match="checkpoint"):
        imputer(checkpoint=tmp_path / "run").fit(table(seed=1))


def test_progress_is_shown_on_stderr_when_asked(capsys):
    imputer().fit_transform(table())
    assert capsys.readouterr() == ("", "")
    imputer(verbose=True).fit_transform(table())
    out, err = capsys.readouterr()
    assert out == ""
    assert "6/6" in err


def test_layers_that_behave_otherwise_in_training_are_told_when_it_is_over():
    """Such as the dropout of a factory of one's own."""
    assert not imputer().fit(table()).model_.training


@pytest.mark.parametrize("encoder", ["product-of-experts", "mask-concatenating"])
def test_training_that_diverges_says_what_to_do(encoder):
    settings = {"learning_rate": 1e8, "clip_norm": 1e30, "max_steps": 60, "schedule": "constant"}
    with pytest.raises(FloatingPointError, match="lower learning_rate"):
        imputer("linear", encoder=encoder, decoder="mlp", **settings).fit(table() * 1e3)


@pytest.mark.parametrize("mechanism", ["self-masking-quadratic", "self-masking-spline"])
def test_a_band_is_learned_with_its_edges(mechanism):
    """Its value missing between -0.4 and 0.4, a column is filled from another much like it."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 1)) + 0.3 * rng.normal(size=(400, 2))
    x[np.abs(x[:, 0]) < 0.4, 0] = np.nan
    settings = {"max_steps": 250, "n_samples": 5, "validation_fraction": 0.2}
    fitted = imputer(mechanism, **settings).fit(x)
    inside, *outside = fitted.missing_probability(0, [0.0, -0.9, 0.9])
    assert inside > 0.75
    assert max(outside) < 0.25


def shaped(kind, n_rows=600):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n_rows, 1)) + 0.5 * rng.normal(size=(n_rows, 3))
    hide = {
        "high": x[:, 0] > 0.5,
        "tails": np.abs(x[:, 0]) > 1.2,
        "random": rng.random(n_rows) < 0.3,
        "other": rng.random(n_rows) < 1 / (1 + np.exp(-1.5 * x[:, 2])),
    }[kind]
    x[hide, 0] = np.nan
    return x


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "chosen"),
    [
        ("high", {"self-masking"}),
        ("tails", {"self-masking-quadratic", "self-masking-spline"}),
        ("random", {"at-random"}),
        ("other", {"at-random"}),
    ],
)
def test_auto_chooses_the_shape_that_made_the_holes(kind, chosen):
    model = imputer("auto", max_steps=800, n_samples=5, validation_fraction=0.2)
    assert model.fit(shaped(kind)).selection_.chosen in chosen


def test_auto_says_what_was_compared():
    selection = imputer("auto").fit(table()).selection_
    assert selection.chosen in selection.bounds
    assert selection.chosen in str(selection)
    assert len(selection.bounds) == len(CANDIDATES)
    assert imputer("linear").fit(table()).selection_.chosen == "linear"


def test_auto_needs_rows_to_compare_on():
    with pytest.raises(ValueError, match="give validation_fraction above 0, or name a mechanism"):
        imputer("auto", validation_fraction=0).fit(table())


def test_auto_does_not_compare_on_training_rows():
    """With one row nothing can be held out, and the most flexible mechanism would always win."""
    selection = imputer("auto", max_steps=60).fit(np.array([[1.0, 2.0, 3.0]])).selection_
    assert selection.chosen == next(iter(selection.bounds))


def test_unused_names_are_no_parameters_of_miwae():
    assert not {"mechanism", "sign", "integrate", "mechanism_rate"} & set(
        MIWAEImputer().get_params()
    )
    assert set(MIWAEImputer().get_params()) < set(NotMIWAEImputer().get_params())


def test_a_mechanism_of_ones_own_can_be_given():
    model = imputer(lambda n_features: SelfMasking(n_features, link="logit")).fit(table())
    assert model.model_.mechanism.link.__name__ == "Logit"
    assert_imputed(model.transform(table()), table())


def test_rows_are_trained_on_or_held_out(monkeypatch):
    from notmiwae import ensembles

    seen = []

    def watched(models, x, mask, *, rows, validation, **settings):
        seen.append((x[rows[0]], validation[0][0]))
        return fit_together(models, x, mask, rows=rows, validation=validation, **settings)

    fit_together = ensembles.fit_together
    monkeypatch.setattr(ensembles, "fit_together", watched)
    x = np.random.default_rng(0).normal(size=(60, 3))
    imputer(validation_fraction=0.3).fit(x)
    trained, held_out = (set(part[:, 0].tolist()) for part in seen[0])
    assert len(trained) + len(held_out) == 60
    assert not trained & held_out
    assert len(held_out) == pytest.approx(18, abs=9)


def test_models_start_apart_and_wait_for_a_fifth_of_the_steps_and_learn_on(monkeypatch):
    calls = []

    def fake_fit(models, *, max_steps, seeds, **settings):
        [model], [seed] = models, seeds
        learns = all(parameter.requires_grad for parameter in model.mechanism.parameters())
        calls.append((max_steps, learns, seed, model.encoder.direction.detach().clone()))
        model.encoder.direction.data += 1
        return [History([1], [0.0], [0.0], 1)]

    monkeypatch.setattr("notmiwae.ensembles.fit_together", fake_fit)
    for name in ("sharpen", "sharpen_all"):
        monkeypatch.setattr(f"notmiwae.directions.{name}", lambda model, start, *_: start)
    imputer("self-masking-known", n_models=2, max_steps=50).fit(table())
    each = [(10, False), (50, True)]
    assert [call[:2] for call in calls] == [*each, *each, (50, True), (50, True)]
    assert len({seed for _, _, seed, _ in calls}) == 2
    assert not torch.equal(calls[0][3], calls[2][3])
    for learned, on in zip(calls[1:4:2], calls[4:], strict=True):  # the same models, where they are
        assert learned[2] == on[2]
        torch.testing.assert_close(on[3], learned[3] + 1)


def test_models_that_took_a_wrong_turn_are_left_out(monkeypatch):
    bounds = {
        "at-random": [-1.0, -1.0, -1.0],
        "self-masking": [0.40625, 0.0, 0.34375],
        "self-masking, in context": [0.375, 0.125, 0.25],
        "self-masking-spline": [0.4375, 0.3125, 0.25],
    }

    def go_on(self, models, members):
        [name] = self.build.args
        return [History([1], [0.0], [bounds[name][index]], 1) for index in members]

    def train(self, members, start=None):
        models = [self.build() for _ in members]
        return Trained(models, go_on(self, models, members))

    monkeypatch.setattr(Course, "go_on", go_on)
    monkeypatch.setattr(Course, "train", train)
    monkeypatch.setattr(Course, "explore", lambda self, member, *_: train(self, [member]))
    monkeypatch.setattr(
        Course, "held_out_bounds", lambda self, *_: torch.full((9,), bounds[self.build.args[0]][0])
    )
    fitted = imputer("auto", n_models=3).fit(table())  # holes in two columns
    assert fitted.selection_.chosen == "self-masking"
    assert fitted.selection_.bounds == {name: of[0] for name, of in bounds.items()}
    # One near the chosen is averaged with it. The spline is nearer, but has to gain more than that;
    # another, and the second of its own, took a wrong turn.
    assert fitted.mechanisms_ == ["self-masking", "self-masking, in context"]
    assert [history.held_out_bound for history in fitted.histories_] == [0.40625, 0.375]


def test_what_was_compared_can_be_looked_at_alone(tmp_path, monkeypatch):
    went_on = []
    go_on = Course.go_on

    def watched(course, models, members):
        histories = go_on(course, models, members)
        went_on.extend(map(id, [*models, *histories]))
        return histories

    monkeypatch.setattr(Course, "go_on", watched)
    fitted = imputer("auto", max_steps=30, n_models=2).fit(table())
    for name in fitted.selection_.bounds:
        alone = fitted.under(name)
        assert alone.mechanisms_ == [name]
        for part in (alone.model_, alone.history_):
            assert (id(part) in went_on) == (name in fitted.mechanisms_)
        assert_imputed(alone.transform(table()), table())
    assert len(fitted.models_) > 1  # it stays as it was
    with pytest.raises(ValueError, match="mechanism must be one of 'at-random', 'self-masking'"):
        fitted.under("linear")
    fitted.save(tmp_path)
    loaded = NotMIWAEImputer.load(tmp_path)
    assert loaded.mechanisms_ == fitted.mechanisms_
    np.testing.assert_array_equal(loaded.transform(table()), fitted.transform(table()))
    name = fitted.mechanisms_[-1]
    np.testing.assert_array_equal(
        loaded.under(name).transform(table()), fitted.under(name).transform(table())
    )


def test_without_held_out_rows_every_model_is_kept():
    assert len(imputer(n_models=2, validation_fraction=0.0).fit(table()).models_) == 2


@pytest.mark.parametrize(("given", "used"), [(None, 300 / 40), (0.5, 0.5)])
def test_weight_decay_is_by_default_a_prior_against_the_rows(monkeypatch, given, used):
    seen = []

    def fake_fit(models, *, weight_decay, **settings):
        seen.append(weight_decay)
        return [History([1], [0.0], [0.0], 1)]

    monkeypatch.setattr("notmiwae.ensembles.fit_together", fake_fit)
    imputer(weight_decay=given).fit(table(n_rows=40))
    assert set(seen) == {used}


@pytest.mark.parametrize("scale", ["column", "network", "shared"])
def test_a_crowd_at_one_value_is_no_spike(scale):
    x = table(n_rows=60)
    x[:40, 2] = 0.0
    model = imputer(scale=scale, scale_floor=0.02).fit(x).model_
    floor = model.observation.scale_floor
    assert floor.tolist() == pytest.approx([0.02, 0.02, 40 / 60])
    assert (model.observation(torch.randn(50, 2, device=model.device)).scale > floor).all()
