import datetime

import numpy as np
import pandas as pd
import pytest

from notmiwae import kinds
from notmiwae.kinds import KINDS, from_dict, given, infer

RNG = np.random.default_rng(0)
N = 200


def column(content, dtype=None):
    return pd.Series(content, dtype=dtype, name="x")


EXAMPLES = {
    "continuous": column(RNG.normal(5, 2, N)),
    "positive": column(np.exp(RNG.normal(3, 1, N))),
    "bounded": column(RNG.random(N)),
    "binary": column(["no", "yes"] * (N // 2)),
    "categorical": column(["red", "green", "blue", "green"] * (N // 4)),
    "ordinal": column(pd.Categorical(["a", "b", "c", "b"] * (N // 4), list("abc"), ordered=True)),
    "count": column(RNG.poisson(2, N)),
    "left-out": column([f"person {i}" for i in range(N)]),
}
INFERRED = [name for name in EXAMPLES if name != "bounded"]


def test_there_is_an_example_of_every_kind():
    assert set(EXAMPLES) == set(KINDS)


@pytest.mark.parametrize("name", INFERRED)
def test_a_kind_is_inferred_from_the_cells(name):
    assert infer(EXAMPLES[name]).name == name


@pytest.mark.parametrize("name", INFERRED)
def test_holes_change_no_kind(name):
    holes = EXAMPLES[name].mask(RNG.random(N) < 0.2)
    assert infer(holes).name == name
    encoded = infer(holes).encode(holes)
    if name != "left-out":
        assert np.array_equal(np.isnan(encoded), holes.isna())


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "left-out"])
def test_cells_come_back_from_their_codes(name):
    kind = given(name, EXAMPLES[name])
    back = kind.decode(kind.encode(EXAMPLES[name]))
    if isinstance(kind, kinds.Labels):
        assert back == EXAMPLES[name].tolist()
    else:
        np.testing.assert_allclose(back, EXAMPLES[name], rtol=1e-9)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_kind_comes_back_from_what_describes_it(name):
    kind = given(name, EXAMPLES[name])
    again = from_dict(kind.to_dict())
    assert type(again) is type(kind)
    assert vars(again) == vars(kind)


@pytest.mark.parametrize(
    ("content", "dtype", "name"),
    [
        ([True, False, None] * 9, "boolean", "binary"),
        ([True, False, None] * 9, object, "binary"),
        ([0, 1, None] * 9, "Int64", "binary"),
        ([0.0, 1.0, np.nan] * 9, None, "binary"),
        ([1, 2, 2] * 9, None, "continuous"),
        ([2008.0, 2009, 2009] * 9, None, "continuous"),
        ([0, 0, 1, 5, 0, 2] * 9, None, "count"),
        ([0, 10, 30, 59] * 9, None, "continuous"),
        ([1.5, 2, 2.5, None] * 9, object, "continuous"),
        ([-1, 0, 1, 2] * 9, None, "continuous"),
        ([18, 35, 70, 52] * 9, None, "continuous"),
        ([9, 10, 11, 10] * 9, None, "continuous"),
        (["only"] * 20, None, "categorical"),
        (["a", 1, "b"] * 9, object, "categorical"),
        ([None, None], object, "left-out"),
        ([np.nan, np.nan], None, "left-out"),
        ([pd.NA, pd.NA], "Int64", "left-out"),
        (pd.date_range("2020-01-01", periods=30), None, "left-out"),
        ([datetime.date(2020, 1, d + 1) for d in range(20)], object, "left-out"),
        (["2020-01-03", "2021-12-24", "2020-02-02"] * 9, None, "left-out"),
        (["3.1.2020", "24.12.2021", "2.2.2020"] * 9, None, "left-out"),
        (pd.to_timedelta(np.arange(30), "D"), None, "left-out"),
        (np.arange(100) + 17, None, "left-out"),
        ([f"town {i % 60}" for i in range(600)], None, "left-out"),
        ([[1], [2], [1]] * 9, object, "left-out"),
    ],
)
def test_what_a_column_is_taken_for(content, dtype, name):
    assert infer(column(content, dtype)).name == name


@pytest.mark.parametrize("unit", [0.0, 1.0, 40.0])
def test_a_positive_number_is_as_close_to_normal_as_its_scale_makes_it(unit):
    values = RNG.normal(2, 1, 2000)
    made = np.exp(values) if not unit else unit * np.logaddexp(0, values)
    kind = infer(column(made))
    assert kind.name == "positive" or unit
    np.testing.assert_allclose(kinds.linked(made, unit), values, atol=1e-9)
    draws = kinds.Positive(unit).numbers(np.array([-1e3, -30, 0, 30, 1e3]))
    assert np.isfinite(draws).all()
    assert (draws >= 0).all()


def test_categories_that_do_not_appear_are_no_levels():
    found = infer(column(pd.Categorical(["a", "c", "d", "a"], list("abcd"))))
    assert found.levels == ["a", "c", "d"]


def test_new_labels_are_unknown():
    kind = infer(EXAMPLES["categorical"])
    new = column(["red", "pink", None])
    assert np.array_equal(kind.encode(new), [3, np.nan, np.nan], equal_nan=True)
    assert kind.unknown(new) == ["pink"]


def test_no_category_is_zero_which_stands_for_missing():
    kind = infer(EXAMPLES["categorical"])
    assert kind.encode(EXAMPLES["categorical"]).min() == 1


def test_levels_in_their_order_can_be_given():
    kind = given(["low", "mid", "high"], column(["high", "low", None]))
    assert kind.encode(column(["low", "mid", "high"])).tolist() == [0, 1, 2]


def test_whole_numbers_stay_whole():
    kind = infer(column([18, 35, 70, 52, None] * 9, "Int64"))
    assert kind.decode(np.array([33.4, 33.6])) == [33, 34]
    assert kind.numbers(np.array([33.4])).tolist() == [33]


def test_bounds_are_kept():
    kind = given("bounded:-10,10", column([-3.0, 4.0, 9.0]))
    assert (kind.low, kind.high) == (-10, 10)
    assert kind.numbers(np.array([-11.0, 3, 12])).tolist() == [-10, 3, 10]
    assert (given("bounded", column([3.0, 60.0])).high) == 100


@pytest.mark.parametrize(
    ("spec", "content", "says"),
    [
        ("number", [1.0, 2], "a column's type must be one of 'continuous', 'positive'"),
        ("positive", [0.0, 1, 2], "said to be positive, and holds 0"),
        ("positive", ["a", "b"], "holds no numbers"),
        ("count", [0.5, 1, 2], "said to hold counts"),
        ("count", [-1, 1, 2], "said to hold counts"),
        ("binary", [1, 2, 3], "holds 3 different values"),
        ("ordinal", ["a", "b", "c"], "its labels have no order"),
        ("bounded", [-5.0, 4], "give the bounds, as in 'bounded:-10,10'"),
        ("bounded:0,1", [0.5, 4], "within 0 and 1, and holds 4"),
        ("bounded:3", [0.5, 4], "bounds are given as in"),
        ("bounded:3,1", [0.5, 4], "bounds are given as in"),
        ("count:3", [1, 2], "only 'bounded' takes details"),
        (["a", "b"], ["a", "c"], r"holds \['c'\]"),
        (["a", "a"], ["a"], "labels of an ordinal column"),
        (3, ["a"], "labels of an ordinal column"),
    ],
)
def test_a_type_that_does_not_fit_is_refused(spec, content, says):
    cells = column(content)
    with pytest.raises(ValueError, match=says):
        given(spec, cells).encode(cells)
