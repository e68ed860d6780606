import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.imputation.bayes_mi import MI

from notmiwae import pool


def spread_out(variance, m=5, mean=0.0):
    """Return m estimates with this mean and this variance."""
    values = np.linspace(-1, 1, m)
    return mean + values * np.sqrt(variance / values.var(ddof=1))


# SAS/STAT 13.2 User's Guide, The MIANALYZE Procedure, Example 10, Output 2: five imputations,
# edf=28; between, within and total variance, df, relative increase, fraction of missing information
PUBLISHED = [
    (45.529229, 76.543614, 131.178689, 9.1917, 0.713777, 0.461277),
    (0.014715, 0.114324, 0.131983, 20.598, 0.154459, 0.141444),
]


@pytest.mark.parametrize(("between", "within", "total", "df", "riv", "fmi"), PUBLISHED)
def test_a_published_example(between, within, total, df, riv, fmi):
    pooled = pool(spread_out(between), np.full(5, within), complete_df=28).loc[0]
    assert pooled["std_error"] ** 2 == pytest.approx(total, rel=2e-5)
    assert pooled["df"] == pytest.approx(df, rel=2e-5)
    assert pooled["riv"] == pytest.approx(riv, rel=3e-5)
    assert pooled["fmi"] == pytest.approx(fmi, rel=3e-5)


def test_the_interval_and_the_p_value_are_those_of_students_t():
    estimates, variances = spread_out(0.5, mean=3.0), np.full(5, 2.0)
    pooled = pool(estimates, variances, complete_df=20, coverage=0.9, null=1.0).loc[0]
    t = stats.t(pooled["df"])
    assert t.cdf((pooled["high"] - pooled["estimate"]) / pooled["std_error"]) == pytest.approx(0.95)
    assert pooled["high"] - 3 == pytest.approx(3 - pooled["low"])
    assert pooled["p_value"] == pytest.approx(2 * t.cdf(-2 / pooled["std_error"]))
    # An interval's end is the null value that its level just rejects.
    assert pool(estimates, variances, complete_df=20, null=pooled["low"]).loc[
        0, "p_value"
    ] == pytest.approx(0.1)


def test_draws_that_agree_give_the_analysis_of_the_complete_table():
    pooled = pool([2.0] * 4, [0.3] * 4, complete_df=17).loc[0]
    assert pooled["std_error"] == pytest.approx(np.sqrt(0.3))
    assert (pooled["fmi"], pooled["riv"]) == (0, 0)
    # What Barnard & Rubin (1999) leave of 17 degrees of freedom.
    assert pooled["df"] == pytest.approx(17 * 18 / 20)
    large = pool([2.0] * 4, [0.3] * 4).loc[0]
    assert large["df"] == np.inf
    assert large["high"] == pytest.approx(2 + stats.norm.ppf(0.975) * np.sqrt(0.3))


def test_of_a_large_table_rubins_degrees_of_freedom_remain():
    estimates, variances = spread_out(1.5, m=8), np.full(8, 0.7)
    pooled = pool(estimates, variances).loc[0]
    r = (1 + 1 / 8) * 1.5 / 0.7
    assert pooled["df"] == pytest.approx(7 * (1 + 1 / r) ** 2)  # Rubin (1987), eq. 3.1.6
    nearly = pool(estimates, variances, complete_df=1e9).loc[0]
    assert nearly["df"] == pytest.approx(pooled["df"])


def test_degrees_of_freedom_exceed_neither_those_of_the_table_nor_of_the_draws():
    for complete_df in (2, 10, 100):
        for between in (1e-6, 1e-2, 1.0, 100.0):
            pooled = pool(spread_out(between), np.ones(5), complete_df=complete_df).loc[0]
            alone = pool(spread_out(between), np.ones(5)).loc[0]
            assert 0 < pooled["df"] < min(complete_df, alone["df"])


def test_where_all_is_missing_only_the_draws_tell():
    pooled = pool(spread_out(2.0), np.zeros(5)).loc[0]
    assert (pooled["fmi"], pooled["df"]) == (1, 4)
    assert pooled["std_error"] == pytest.approx(np.sqrt(1.2 * 2.0))


def draws_of(n_draws=7, n_rows=50):
    """Completed tables y, u, v of which y differs between draws."""
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=(2, n_rows))
    y = 1 + u - 0.5 * v + rng.normal(size=(n_draws, n_rows))
    return [pd.DataFrame({"y": each, "u": u, "v": v}) for each in y]


def regression(table):
    return sm.OLS(table["y"], sm.add_constant(table[["u", "v"]])).fit()


def test_results_of_statsmodels_are_pooled_as_statsmodels_does():
    tables = draws_of()

    class Given:
        """An imputer that hands out these tables."""

        def __init__(self):
            self.left = iter(tables)

        def update(self):
            self.data = next(self.left)

    given = Given()
    theirs = MI(
        given,
        sm.OLS,
        model_args_fn=lambda data: (data["y"], sm.add_constant(data[["u", "v"]])),
        burn=0,
        skip=0,
        nrep=7,
    ).fit()
    ours = pool([regression(table) for table in tables])
    np.testing.assert_allclose(ours["estimate"], theirs.params)
    np.testing.assert_allclose(ours["std_error"], theirs.bse)
    # Their fraction of missing information is λ = r / (1 + r), for infinitely many draws.
    np.testing.assert_allclose(ours["riv"] / (1 + ours["riv"]), theirs.fmi)
    assert list(ours.index) == ["const", "u", "v"]


def test_a_model_knows_its_degrees_of_freedom():
    tables = draws_of()
    results = [regression(table) for table in tables]
    pd.testing.assert_frame_equal(pool(results), pool(results, complete_df=47))
    logit = [
        sm.GLM(table["y"] > 0, sm.add_constant(table[["u"]]), sm.families.Binomial()).fit()
        for table in tables
    ]
    pd.testing.assert_frame_equal(pool(logit), pool(logit, complete_df=np.inf))


def test_a_function_of_the_table_may_return_results_or_pairs():
    tables = draws_of()
    by_function = pool(tables, regression)
    pd.testing.assert_frame_equal(by_function, pool([regression(table) for table in tables]))

    def pair(table):
        fitted = regression(table)
        return fitted.params, fitted.cov_params(), fitted.df_resid

    pd.testing.assert_frame_equal(pool(tables, pair), by_function)

    def mean(table):
        return table["y"].mean(), table["y"].var() / len(table)

    estimates, variances = zip(*map(mean, tables), strict=True)
    pd.testing.assert_frame_equal(pool(tables, mean), pool(estimates, variances))


def test_pairs_may_be_lists():
    pooled = pool([0.0, 1.0], lambda shift: ([1 + shift, 2.0], [1.0, 1.0]))
    assert pooled["estimate"].tolist() == [1.5, 2.0]


def test_only_the_diagonal_of_covariances_matters_to_single_parameters():
    rng = np.random.default_rng(0)
    estimates = rng.normal(size=(4, 2))
    roots = rng.normal(size=(4, 2, 2))
    covariances = roots @ roots.swapaxes(1, 2)
    variances = covariances.diagonal(axis1=1, axis2=2)
    pooled = pool(estimates, covariances)
    pd.testing.assert_frame_equal(pooled, pool(estimates, variances))
    pd.testing.assert_series_equal(
        pooled.loc[1], pool(estimates[:, 1], variances[:, 1]).loc[0], check_names=False
    )


def test_columns_name_the_parameters():
    estimates = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 5.0]})
    assert list(pool(estimates, np.ones((2, 2))).index) == ["a", "b"]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: pool([1.0], [1.0]), "at least two completed tables; got 1"),
        (lambda: pool([1.0, 2.0], [1.0]), r"got shapes \(2,\) and \(1,\)"),
        (lambda: pool(np.ones((2, 3)), np.ones((2, 2))), r"got \(2,\) for estimates of shape"),
        (lambda: pool([1.0, 2.0], [1.0, -1.0]), "variances not negative"),
        (lambda: pool([1.0, np.nan], [1.0, 1.0]), "finite"),
        (lambda: pool([1.0, 2.0]), "got float"),
        (lambda: pool(["a", "b"]), "got str"),
        (lambda: pool([1.0, 2.0], [1.0, 1.0], coverage=95), "coverage"),
        (lambda: pool([1.0, 2.0], [1.0, 1.0], complete_df=0), "complete_df"),
        (
            lambda: pool([(pd.Series({"a": 1.0}), [1.0]), (pd.Series({"b": 1.0}), [1.0])]),
            r"got \['b'\] beside \['a'\]",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()
