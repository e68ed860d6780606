import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from notmiwae import NotMIWAEImputer, pool, sensitivity_analysis
from notmiwae.departures import DEPARTURES
from notmiwae.sensitivity import Sweep

MEAN, SPREAD = 3.0, 0.5


def survey(n_rows=200):
    """A complete column, and one that misses four values in ten."""
    rng = np.random.default_rng(0)
    x = pd.DataFrame(rng.normal(size=(n_rows, 2)), columns=["age", "income"])
    x["income"] = 2 * x["income"] + 1
    x.loc[rng.random(n_rows) < 0.4, "income"] = np.nan
    return x


class Known:
    """An imputer whose every draw is N(3, 0.5²), or the number of the model that it comes from."""

    bootstrap = True

    def __init__(self, n_models=2, numbered=False):
        self.models_, self.numbered = [None] * n_models, numbered

    def sample(self, X, n_draws):
        return next(self.transform_batches([X], n_draws))

    def transform_batches(self, batches, n_draws):
        rng = np.random.default_rng(1)
        for X in batches:
            values = rng.normal(MEAN, SPREAD, size=(n_draws, *X.shape))
            if self.numbered:
                values[:] = (np.arange(n_draws) % len(self.models_))[:, None, None]
            yield np.where(X.isna(), values, X)


def test_delta_moves_a_mean_by_its_share_of_missing_values():
    x = survey()
    table = sensitivity_analysis(Known(), x, "income", sizes=[-1, 2]).table
    share, scale = x["income"].isna().mean(), x["income"].std()
    assert list(table.index) == [-1, 0, 2]
    np.testing.assert_allclose(table["shift"], table.index * scale)
    np.testing.assert_allclose(
        table["estimate"] - table.loc[0.0, "estimate"], share * table.index * scale
    )
    np.testing.assert_allclose(
        table["mean_imputed"] - table.loc[0.0, "mean_imputed"], table.index * scale
    )


def test_deltas_may_be_in_the_units_of_the_column():
    x = survey()
    table = sensitivity_analysis(Known(), x, "income", sizes=[-4, 4], unit="column").table
    np.testing.assert_allclose(table["shift"], [-4, 0, 4])
    np.testing.assert_allclose(table.index, [-4, 0, 4] / x["income"].std())


def test_a_steeper_mechanism_tilts_a_normal_distribution_to_another():
    x = survey()
    table = sensitivity_analysis(
        Known(), x, "income", by="slope", sizes=[-2, 1, 2], n_draws=60
    ).table
    expected = MEAN + table.index * SPREAD**2 / x["income"].std()
    n_values = 60 * x["income"].isna().sum()
    np.testing.assert_allclose(table["mean_imputed"], expected, atol=5 * SPREAD / n_values**0.5)


def test_a_slope_so_steep_that_nothing_is_left_to_choose_from_is_said():
    with pytest.warns(UserWarning, match=r"only 1\.\d count: take smaller slopes"):
        sensitivity_analysis(Known(), survey(), "income", by="slope", sizes=[40])


@pytest.mark.parametrize("by", DEPARTURES)
def test_at_zero_it_is_what_the_model_has(by):
    x, known = survey(), Known()
    line = sensitivity_analysis(known, x, "income", by=by, sizes=[0.5], n_draws=40).table.loc[0.0]
    draws = [pd.DataFrame(draw, columns=x.columns) for draw in known.sample(x, 40)]
    pooled = pool(draws, lambda t: (t["income"].mean(), t["income"].var() / len(t), len(t) - 1))
    assert line["estimate"] == pytest.approx(pooled.loc[0, "estimate"], abs=0.02)
    assert line["std_error"] == pytest.approx(pooled.loc[0, "std_error"], rel=0.05)


@pytest.mark.parametrize("by", DEPARTURES)
def test_what_was_observed_stays(by):
    x = survey()

    def question(table):
        seen = x["income"].notna().reindex(table.index)
        pd.testing.assert_frame_equal(table[seen], x.dropna())
        assert set(table["age"]) <= set(x["age"])
        return table["income"].mean(), 1.0

    sensitivity_analysis(Known(), x, "income", question, by=by, sizes=[-1])


def test_a_table_has_its_draws_from_one_model():
    x, numbers = survey(), []

    def question(table):
        if len(table) < len(x):  # complete cases
            return 0.0, 1.0
        (number,) = table.loc[x["income"].isna(), "income"].unique()
        numbers.append(number)
        return number, 1.0

    sensitivity_analysis(
        Known(3, numbered=True), x, "income", question, by="slope", sizes=[1], n_draws=5
    )
    assert numbers[:5] == [0, 1, 2, 0, 1]


def sweep(low, high, sizes=(-2, -1, 0, 1, 2), **settings):
    table = pd.DataFrame(
        {"estimate": (np.array(low) + high) / 2, "low": low, "high": high},
        index=pd.Index(np.array(sizes, dtype=float), name="delta"),
        dtype=float,
    )
    options = {"reference": 0.0, "complete_cases": 1.0, "coverage": 0.95, **settings}
    return Sweep(table, column="income", estimand="mean of income", by="delta", **options)


def test_a_tipping_point_is_where_the_interval_meets_the_reference():
    curve = sweep(low=[-3, -1, 1, 3, 5], high=[-1, 1, 3, 5, 7])
    assert list(curve.conclusions()) == ["below", "open", "above", "above", "above"]
    points = curve.tipping_points()
    assert list(points.index) == ["down"]
    assert points.loc["down"].tolist() == [-0.5, "above", "open"]
    # About another value: open as it is, it tips both ways.
    points = curve.tipping_points(reference=2.0)
    assert points.loc["down"].tolist() == [-0.5, "open", "below"]
    assert points.loc["up"].tolist() == [0.5, "open", "above"]


def test_a_conclusion_that_holds_has_no_tipping_point():
    assert sweep(low=[1] * 5, high=[2] * 5).tipping_points().empty


def test_a_jump_over_the_reference_tips_at_the_first_end():
    points = sweep(low=[0, 0, 1, -3, -3], high=[9, 9, 2, -1, -1]).tipping_points()
    assert points.loc["up", "at"] == pytest.approx(0.25)
    assert points.loc["up", "after"] == "below"


def test_it_says_in_words_what_it_found():
    text = str(sweep(low=[-3, -1, 1, 3, 5], high=[-1, 1, 3, 5, 7]))
    assert text == (
        "The mean of income is 2 (95% interval 1 to 3); complete cases alone say 1.\n"
        "It is above 0.\n"
        "Down from delta -0.5, it is not told apart from 0.\n"
        "Up to delta 2, that stays so."
    )
    assert "above" not in str(sweep(low=[1] * 5, high=[2] * 5, reference=None))


def test_without_a_reference_there_is_no_conclusion():
    curve = sweep(low=[1] * 5, high=[2] * 5, reference=None)
    with pytest.raises(ValueError, match="give reference"):
        curve.tipping_points()
    assert curve.tipping_points(3.0).empty


def test_a_plot_shows_the_curve_and_where_it_tips():
    ax = sweep(low=[-3, -1, 1, 3, 5], high=[-1, 1, 3, 5, 7]).plot(plt.figure().gca())
    curves = {line.get_label(): line.get_xdata() for line in ax.lines}
    assert list(curves["estimate"]) == [-2, -1, 0, 1, 2]
    assert list(curves["tipping"]) == [-0.5]
    assert ax.get_ylabel() == "mean of income"
    plt.close("all")


def test_a_coefficient_is_about_zero_unless_told_otherwise():
    x = survey()
    x["wage"] = x["age"] + x["income"].fillna(0)
    found = sensitivity_analysis(Known(), x, "income", "coefficient:wage~income,age", sizes=[0])
    assert found.reference == 0
    assert sensitivity_analysis(Known(), x, "income", sizes=[0]).reference is None


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"column": "wage"}, r"must be one of \['age', 'income'\]; got 'wage'"),
        ({"column": "age"}, "no missing value"),
        ({"by": "gamma"}, "by must be one of 'delta', 'slope'"),
        ({"unit": "miles"}, "unit must be one of"),
        ({"unit": "column", "by": "slope", "sizes": [1]}, "leave it out"),
        ({"estimand": "coefficient:wage~income"}, r"needs column\(s\) \['wage'\]"),
        ({"estimand": "coefficient:age~age"}, "does not depend on 'income'"),
        ({"estimand": lambda table: (table.mean(), table.var())}, "one number; got 2"),
        ({"sizes": [np.inf]}, "sizes"),
        ({"n_draws": 1}, "n_draws"),
    ],
)
def test_what_cannot_be_answered_is_refused(options, match):
    call = {"column": "income", "sizes": [1.0], **options}
    with pytest.raises(ValueError, match=match):
        sensitivity_analysis(Known(), survey(), **call)


def test_an_array_has_no_names():
    with pytest.raises(ValueError, match=r"must be a pandas DataFrame, .*; got numpy ndarray"):
        sensitivity_analysis(Known(), survey().to_numpy(), "income")


@pytest.mark.parametrize("by", DEPARTURES)
def test_an_imputer_is_swept(by):
    x = survey(60)
    imputer = NotMIWAEImputer(
        "self-masking", n_models=2, max_steps=5, hidden=(4,), n_impute_samples=20, random_state=0
    )
    fitted = imputer.set_params(bootstrap=True).fit(x)
    table = sensitivity_analysis(fitted, x, "income", by=by, sizes=[-1, 1], n_draws=4).table
    assert table["estimate"].is_monotonic_increasing
    with pytest.warns(UserWarning, match="without bootstrap=True"):
        sensitivity_analysis(imputer.set_params(bootstrap=False), x, "income", sizes=[1], n_draws=4)


@pytest.mark.parametrize("by", DEPARTURES)
def test_columns_of_other_kinds_are_carried_along(by):
    x = survey(60)
    rng = np.random.default_rng(1)
    x["city"] = pd.Categorical(rng.choice(["Oslo", "Rome"], 60))
    x["visits"] = pd.array(rng.poisson(3, 60), "Int64")
    x.loc[:8, ["city", "visits"]] = None
    imputer = NotMIWAEImputer(
        "self-masking", n_models=2, max_steps=5, hidden=(4,), n_impute_samples=20, random_state=0
    )
    imputer.set_params(bootstrap=True).fit(x)
    kinds = []

    def question(table):
        kinds.append(table.dtypes)
        return table["visits"].astype(float).mean(), 1.0

    found = sensitivity_analysis(imputer, x, "visits", question, by=by, sizes=[0.2], n_draws=3)
    assert found.table["estimate"].is_monotonic_increasing
    assert kinds[0]["city"] == x["city"].dtype
    assert kinds[0]["visits"].kind == "f"
    with pytest.raises(ValueError, match="must hold numbers"):
        sensitivity_analysis(imputer, x, "city")
