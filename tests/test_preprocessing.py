import numpy as np
import pytest
import torch

from notmiwae.preprocessing import FAR, Standardiser


def table(dtype=np.float64):
    x = np.random.default_rng(0).normal([5, -3, 100], [2, 0.1, 30], (40, 3)).astype(dtype)
    x[::3, 0] = np.nan
    x[1::4, 2] = np.nan
    return x


def test_observed_values_have_mean_zero_and_variance_one():
    x = table()
    values, mask = Standardiser().fit(x).to_model(x)
    n = mask.sum(0)
    torch.testing.assert_close(values.sum(0) / n, torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(values.square().sum(0) / n, torch.ones(3))


def test_nan_becomes_zero_and_the_mask_says_where():
    x = table()
    values, mask = Standardiser().fit(x).to_model(x)
    assert values.dtype == mask.dtype == torch.get_default_dtype()
    assert np.array_equal(mask.numpy() == 0, np.isnan(x))
    assert (values[mask == 0] == 0).all()


def test_the_table_is_not_changed():
    x = table()
    before = x.copy()
    preprocessing = Standardiser().fit(x)
    values, _ = preprocessing.to_model(x)
    preprocessing.fill(x, values)
    np.testing.assert_array_equal(x, before)


def test_other_rows_are_measured_by_those_of_the_fit():
    x = table()
    preprocessing = Standardiser().fit(x)
    values, _ = preprocessing.to_model(np.array([[5.0, -3.0, np.nan]]))
    expected = (5 - np.nanmean(x[:, 0])) / np.nanstd(x[:, 0])
    assert values[0, 0].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_filling_keeps_observed_values_bit_for_bit(dtype):
    x = table(dtype)
    preprocessing = Standardiser().fit(x)
    filled = preprocessing.fill(x, torch.randn(5, 40, 3))
    assert filled.shape == (5, 40, 3)
    assert filled.dtype == dtype
    assert not np.isnan(filled).any()
    for draw in filled:
        assert np.array_equal(draw[~np.isnan(x)], x[~np.isnan(x)])


def test_filled_values_are_in_the_tables_units():
    x = table()
    preprocessing = Standardiser().fit(x)
    filled = preprocessing.fill(x, torch.ones(40, 3))
    assert filled[0, 0] == pytest.approx(np.nanmean(x[:, 0]) + np.nanstd(x[:, 0]))


def test_columns_never_observed_are_left_out_and_filled_with_zero():
    x = table()
    x[:, 1] = np.nan
    preprocessing = Standardiser().fit(x)
    assert preprocessing.modelled.tolist() == [True, False, True]
    values, mask = preprocessing.to_model(x)
    assert values.shape == mask.shape == (40, 2)
    filled = preprocessing.fill(x, torch.ones(40, 2))
    assert (filled[:, 1] == 0).all()
    assert filled[1, 2] == pytest.approx(np.nanmean(x[:, 2]) + np.nanstd(x[:, 2]))


def test_values_in_a_column_never_observed_at_fit_come_back():
    x = table()
    x[:, 1] = np.nan
    preprocessing = Standardiser().fit(x)
    filled = preprocessing.fill(np.array([[1.0, 7.0, np.nan]]), torch.zeros(1, 2))
    assert filled[0, :2].tolist() == [1.0, 7.0]


def test_without_scaling_values_stay_as_they_are():
    x = np.array([[0.0, 1.0], [1.0, np.nan]])
    values, _ = Standardiser(scale=False).fit(x).to_model(x)
    assert values.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("constant", [0.0, 3.0, 1e9, 0.1])
def test_a_constant_column_stays_finite(constant):
    x = np.full((10, 1), constant)
    x[3] = np.nan
    preprocessing = Standardiser().fit(x)
    values, _ = preprocessing.to_model(x)
    assert (values.abs() < 1e-3).all()
    np.testing.assert_allclose(preprocessing.fill(x, values), constant)


@pytest.mark.parametrize("size", [1e-30, 1e30, 1e100])
def test_columns_of_any_size_are_finite_to_the_model(size):
    x = table() * size
    values, mask = Standardiser().fit(x).to_model(x)
    assert torch.isfinite(values).all()
    assert values.abs().max() < 10
    assert values[mask == 1].std() > 0.5


@pytest.mark.parametrize("value", [1e25, 1e300])
def test_a_far_out_value_is_finite_to_the_model(value):
    """Single precision ends at 1e38, and the square of a value has to stay within it."""
    x = table()
    preprocessing = Standardiser().fit(x)
    values, _ = preprocessing.to_model(np.array([[value, -value, np.nan]]))
    assert torch.isfinite(values.square()).all()
    assert values[0, 0] > 100
    assert values[0, 1] < -100


def test_crowding_is_the_share_of_the_most_frequent_observed_value():
    x = np.array([[0, 1.0], [0, 2], [0, 3], [5, 4], [np.nan, 5]])
    assert Standardiser().fit(x).crowding.tolist() == [0.75, 0.2]
    assert Standardiser(scale=False).fit(x).crowding.tolist() == [0, 0]


def test_a_value_beyond_all_that_was_seen_is_as_far_as_can_be():
    fitted = Standardiser().fit(np.array([[0.1], [0.2], [0.3]]))
    values, mask = fitted.to_model(np.array([[1.7e308], [-1.7e308]]))
    assert values.flatten().tolist() == [FAR, -FAR]
    assert mask.all()
