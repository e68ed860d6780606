import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.estimator_checks import parametrize_with_checks

from notmiwae.amputation import AMPUTATIONS, Amputer

OPTIONS = {"clipping": {"limit": 0.5}}
RANDOM = ["mcar", "mar", "self-masking"]


def make(kind, **options):
    options = {"columns": "first-half", "random_state": 0} | OPTIONS.get(kind, {}) | options
    return Amputer(kind, **options)


@pytest.fixture
def x():
    """Correlated columns with means and scales far from 0 and 1."""
    rng = np.random.default_rng(1)
    common = rng.normal(size=(2000, 1))
    return (0.8 * common + 0.6 * rng.normal(size=(2000, 6))) * [1, 10, 0.1, 1, 5, 1] + 3


@pytest.fixture
def other(x):
    """Rows from elsewhere: every threshold learned on them would differ."""
    return x[:500] * 1.5 + 2


@parametrize_with_checks([Amputer()])
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


@pytest.mark.parametrize("kind", AMPUTATIONS)
def test_only_the_chosen_columns_lose_values(kind, x):
    mask = make(kind, columns=[4, 1]).fit(x).mask(x)
    assert mask.shape == x.shape
    assert mask.dtype == bool
    assert mask[:, [0, 2, 3, 5]].all()
    assert not mask[:, [1, 4]].all(0).any()


@pytest.mark.parametrize("kind", AMPUTATIONS)
def test_transform_deletes_what_the_mask_says_and_nothing_else(kind, x):
    before = x.copy()
    amputer = make(kind).fit(x)
    filled = amputer.transform(x)
    np.testing.assert_array_equal(np.isnan(filled), ~amputer.mask(x))
    np.testing.assert_array_equal(filled[amputer.mask(x)], x[amputer.mask(x)])
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("kind", AMPUTATIONS)
def test_same_seed_same_mask(kind, x, other):
    amputer = make(kind).fit(x)
    np.testing.assert_array_equal(amputer.mask(other), amputer.mask(other))
    np.testing.assert_array_equal(clone(amputer).fit(x).mask(other), amputer.mask(other))
    twin = pickle.loads(pickle.dumps(amputer))
    np.testing.assert_array_equal(twin.mask(other), amputer.mask(other))


@pytest.mark.parametrize("kind", RANDOM)
def test_other_seeds_give_other_masks(kind, x):
    first, second = (make(kind, random_state=seed).fit(x).mask(x) for seed in (0, 1))
    assert (first != second).mean() > 0.05
    first, second = (make(kind, random_state=None).fit(x).mask(x) for _ in range(2))
    assert (first != second).mean() > 0.05


def test_a_test_table_repeats_no_draw_of_the_training_table(x):
    amputer = make("mcar", columns=None, share=0.5).fit(x)
    agreement = (amputer.mask(x)[:500] == amputer.mask(x[:500])).mean()
    assert agreement == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("kind", AMPUTATIONS)
@pytest.mark.parametrize("random_state", [None, 0])
def test_global_generators_are_left_as_they_were(kind, random_state, x):
    global_numpy = check_random_state(None)
    state, numpy_state = torch.get_rng_state(), global_numpy.get_state()[1].copy()
    make(kind, random_state=random_state).fit_transform(x)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(global_numpy.get_state()[1], numpy_state)


def test_above_mean_uses_the_training_mean_on_other_rows(x, other):
    mask = make("above-mean").fit(x).mask(other)
    np.testing.assert_array_equal(mask[:, :3], other[:, :3] <= x[:, :3].mean(0))
    assert (mask[:, :3] != (other[:, :3] <= other[:, :3].mean(0))).any()


def test_extremes_uses_training_quantiles_on_other_rows(x, other):
    amputer = make("extremes", share=0.1).fit(x)
    low, high = np.quantile(x[:, :3], [0.1, 0.9], axis=0)
    inside = (low <= other[:, :3]) & (other[:, :3] <= high)
    np.testing.assert_array_equal(amputer.mask(other)[:, :3], inside)
    np.testing.assert_allclose(1 - amputer.mask(x)[:, :3].mean(0), 0.2, atol=1e-3)


def test_around_mean_is_not_monotone_and_uses_training_rows(x, other):
    amputer = make("around-mean", columns=[1], share=0.4).fit(x)
    assert 1 - amputer.mask(x)[:, 1].mean() == pytest.approx(0.4, abs=1e-3)
    mean, radius = x[:, 1].mean(), np.quantile(np.abs(x[:, 1] - x[:, 1].mean()), 0.4)
    probe = np.tile(x[:1], (3, 1))
    probe[:, 1] = mean + radius * np.array([-1.01, 0.99, 1.01])
    assert amputer.mask(probe)[:, 1].tolist() == [True, False, True]
    missing = np.abs(other[:, 1] - mean) < radius
    np.testing.assert_array_equal(amputer.mask(other)[:, 1], ~missing)


def test_clipping_is_in_original_units_whatever_the_training_rows(x, other):
    mask = make("clipping", columns=[1, 0], limit=[5.0, 3.5]).fit(x).mask(other)
    np.testing.assert_array_equal(mask[:, 1], other[:, 1] <= 5)
    np.testing.assert_array_equal(mask[:, 0], other[:, 0] <= 3.5)


def test_mcar_deletes_its_share_and_does_not_look(x):
    amputer = make("mcar", columns=None, share=0.15).fit(x)
    mask = amputer.mask(x)
    np.testing.assert_allclose(1 - mask.mean(0), 0.15, atol=0.03)
    np.testing.assert_array_equal(mask, amputer.mask(-5 * x))


def test_mar_depends_only_on_the_columns_that_stay(x):
    amputer = make("mar", share=0.4).fit(x)
    mask = amputer.mask(x)
    np.testing.assert_array_equal(mask, amputer.mask(x * [9, 9, 9, 1, 1, 1]))
    assert (mask != amputer.mask(x * [1, 1, 1, 9, 9, 9])).any()


def test_mar_expects_its_share_on_training_rows_with_logits_of_its_slope(x):
    amputer = make("mar", share=0.4, slope=3.0).fit(x)
    probability = amputer.kind_.probability(x)[:, :3]
    np.testing.assert_allclose(probability.mean(0), 0.4, atol=1e-9)
    np.testing.assert_allclose(np.log(probability / (1 - probability)).std(0), 3, atol=1e-6)
    np.testing.assert_allclose(1 - amputer.mask(x)[:, :3].mean(0), 0.4, atol=0.04)


def test_mar_gives_each_column_a_dependence_of_its_own(x):
    probability = make("mar").fit(x).kind_.probability(x)[:, :3]
    assert np.abs(np.corrcoef(probability.T)[np.triu_indices(3, 1)]).max() < 0.999


def test_self_masking_is_the_logistic_of_training_units(x, other):
    amputer = make("self-masking", columns=[1, 3], slope=[4.0, -1.0], threshold=0.5).fit(x)
    z = ((other - x.mean(0)) / x.std(0))[:, [1, 3]]
    expected = expit(np.array([4.0, -1.0]) * (z - 0.5))
    np.testing.assert_allclose(amputer.kind_.probability(other)[:, [1, 3]], expected, rtol=1e-9)


def test_self_masking_deletes_as_often_as_it_says(x):
    amputer = make("self-masking", columns=[1], slope=5.0).fit(x)
    probe = np.repeat(x[:1], 4000, axis=0)
    probe[:, 1] = x[:, 1].mean() + 0.3 * x[:, 1].std()
    assert 1 - amputer.mask(probe)[:, 1].mean() == pytest.approx(expit(1.5), abs=0.03)


@pytest.mark.parametrize("kind", AMPUTATIONS)
def test_constant_columns_and_single_rows_work(kind, x):
    constant = x.copy()
    constant[:, 0], constant[:, 5] = 0.1, 0.3  # whose rounded mean differs from them
    amputer = make(kind).fit(constant)
    assert np.isfinite(amputer.kind_.probability(constant)).all()
    if kind in ("above-mean", "extremes", "around-mean"):
        assert amputer.mask(constant)[:, 0].all()
    assert make(kind).fit(x[:1]).mask(x).shape == x.shape


def test_frames_keep_their_labels_and_arrays_become_floats(x):
    frame = pd.DataFrame({"age": [1, 2, 9], "height": [1.5, 2.5, 0.5]}, index=["p", "q", "r"])
    amputer = Amputer(columns=["age"]).fit(frame)
    expected = frame.assign(age=[1.0, 2.0, np.nan])
    pd.testing.assert_frame_equal(amputer.transform(frame), expected)
    assert isinstance(amputer.mask(frame), np.ndarray)
    assert amputer.get_feature_names_out().tolist() == ["age", "height"]
    assert Amputer().fit_transform([[1, 2], [3, 4]]).dtype == float
    assert Amputer().fit_transform(x.astype(np.float32)).dtype == np.float32


def test_set_output_gives_the_frame_that_was_asked_for():
    polars = pytest.importorskip("polars")
    out = Amputer().set_output(transform="polars").fit_transform(pd.DataFrame({"age": [1, 3]}))
    assert isinstance(out, polars.DataFrame)


def test_columns_by_name_by_index_and_by_half(x):
    frame = pd.DataFrame(x, columns=list("abcdef"))
    by_name = Amputer(columns=["a", "b", "c"]).fit(frame).mask(frame)
    np.testing.assert_array_equal(by_name, Amputer(columns=(0, 1, 2)).fit(x).mask(x))
    np.testing.assert_array_equal(by_name, Amputer(columns="first-half").fit(x).mask(x))
    assert Amputer(columns="first-half").fit(x[:, :5]).columns_.tolist() == [0, 1]
    assert Amputer().fit(x).columns_.tolist() == list(range(6))


def test_holes_outside_the_columns_are_kept_unless_the_kind_reads_them(x):
    x[::3, 5] = np.nan
    amputer = make("self-masking").fit(x)
    mask = amputer.mask(x)
    assert np.isfinite(amputer.kind_.mean).all()  # NaN never enters torch
    np.testing.assert_array_equal(mask[:, 5], ~np.isnan(x[:, 5]))
    assert not mask[:, :3].all()
    with pytest.raises(ValueError, match="needs complete data, but X has NaN in columns 5;"):
        make("mar").fit(x)


def test_holes_in_the_columns_are_an_error_in_fit_and_in_mask(x):
    holes = pd.DataFrame(x, columns=list("abcdef"))
    complete = holes.copy()
    holes.loc[3, ["a", "c"]] = np.nan
    with pytest.raises(ValueError, match="complete data, but X has NaN in columns 'a', 'c'"):
        make("above-mean").fit(holes)
    with pytest.raises(ValueError, match="complete data"):
        make("above-mean").fit(complete).mask(holes)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kind": "abovemean"}, "kind must be one of 'above-mean', .*; got 'abovemean'"),
        ({"columns": ["age"]}, "columns must hold indices from 0 to 5; got 'age'"),
        ({"columns": [6]}, "indices from 0 to 5; got 6"),
        ({"columns": [True]}, "indices from 0 to 5; got True"),
        ({"columns": "age"}, "columns must be None, 'first-half', or .*; got 'age'"),
        ({"columns": 1}, "columns must be None, 'first-half', or .*; got 1"),
        ({"columns": []}, "at least one of the 6 columns"),
        ({"columns": [1, 1]}, "none twice"),
        ({"kind": "mcar", "share": 1.5}, "share must be a number above 0 and below 1; got 1.5"),
        ({"kind": "extremes", "share": 0.5}, "above 0 and below 0.5; got 0.5"),
        ({"kind": "around-mean", "share": "all"}, "share must be a number .*; got 'all'"),
        ({"kind": "mar", "slope": 0, "columns": [0]}, "slope must be a number above 0; got 0"),
        ({"kind": "mar"}, "'mar' needs a column that stays observed"),
        ({"kind": "clipping"}, "kind 'clipping' needs limit"),
        ({"kind": "clipping", "limit": [1, 2]}, "one for each of the 6 amputed columns; got"),
        ({"kind": "clipping", "limit": "high"}, "limit must be one number, .*; got 'high'"),
        ({"kind": "self-masking", "slope": [[1.0]]}, "slope must be one number"),
        ({"kind": "self-masking", "threshold": np.nan}, "threshold must be one number"),
        ({"kind": "above-mean", "share": 0.2}, "'above-mean' takes no option; got share=0.2"),
        ({"kind": "mcar", "limit": 1}, "'mcar' takes share; got limit=1"),
    ],
)
def test_errors_say_what_was_given_and_what_is_allowed(parameters, message, x):
    with pytest.raises(ValueError, match=message):
        Amputer(**parameters).fit(x)


def test_unknown_column_of_a_frame_lists_its_columns():
    frame = pd.DataFrame({"age": [1.0, 2.0], "height": [1.0, 2.0]})
    with pytest.raises(ValueError, match=r"one of 'age', 'height', or indices .*; got 'weight'"):
        Amputer(columns=["weight"]).fit(frame)
