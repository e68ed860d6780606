import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from notmiwae.estimands import ESTIMANDS, Coefficient, Mean, Quantile, ShareAbove, read_estimand


def table(n_rows=400, seed=0):
    rng = np.random.default_rng(seed)
    age, income = rng.normal(size=(2, n_rows))
    return pd.DataFrame(
        {"age": age, "income": income, "wage": 1 + 2 * income - age + rng.normal(size=n_rows)}
    )


@pytest.mark.parametrize(
    "question", [Mean("income"), Quantile("income", 0.3), ShareAbove("income", 0.5)]
)
def test_the_variance_is_that_of_repeated_sampling(question):
    answers = [question(table(seed=seed)) for seed in range(300)]
    estimates, variances, _ = map(np.array, zip(*answers, strict=True))
    assert variances.mean() == pytest.approx(estimates.var(ddof=1), rel=0.25)


def test_each_is_what_its_name_says():
    x = table()
    assert Mean("income")(x).estimate == x["income"].mean()
    assert Quantile("income")(x).estimate == x["income"].median()
    assert ShareAbove("income", 0.2)(x).estimate == (x["income"] > 0.2).mean()


def test_a_coefficient_is_that_of_least_squares():
    x = table()
    fitted = smf.ols("wage ~ income + age", x).fit()
    answer = Coefficient("wage", ["income", "age"])(x)
    assert answer.estimate == pytest.approx(fitted.params["income"])
    assert answer.variance == pytest.approx(fitted.bse["income"] ** 2)
    assert answer.complete_df == fitted.df_resid


def test_a_share_of_none_is_not_certain():
    assert ShareAbove("income", 100.0)(table()).variance > 0


@pytest.mark.parametrize(
    ("text", "question", "words"),
    [
        ("mean", Mean("income"), "mean of income"),
        ("median", Quantile("income", 0.5), "median of income"),
        ("quantile:0.9", Quantile("income", 0.9), "0.9 quantile of income"),
        ("share-above:50", ShareAbove("income", 50.0), "share of income above 50"),
        (
            'coefficient:wage~income,"years, of school"',
            Coefficient("wage", ("income", "years, of school")),
            "coefficient of income for wage, given years, of school",
        ),
    ],
)
def test_a_name_reads_as_it_is_said(text, question, words):
    read = read_estimand(text, "income")
    assert read == question
    assert str(read) == words


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("meen", "must be one of 'mean', 'quantile'"),
        ("mean:3", "nothing after a colon"),
        ("quantile:high", "needs a number after a colon"),
        ("quantile:90", "level of a quantile"),
        ("share-above", "share-above:0.5"),
        ("coefficient", "coefficient:wage~income,age"),
        ("coefficient:wage~", "coefficient:wage~income,age"),
    ],
)
def test_a_name_that_cannot_be_read_says_what_can(text, match):
    with pytest.raises(ValueError, match=match):
        read_estimand(text, "income")


def test_a_regression_on_the_same_thing_twice_is_refused():
    with pytest.raises(ValueError, match="leave one out"):
        Coefficient("wage", ["income", "income"])(table())


@pytest.mark.parametrize("name", ESTIMANDS)
def test_an_estimand_names_its_columns(name):
    detail = {"coefficient": "wage~income", "share-above": "1", "quantile": "0.5"}.get(name, "")
    question = ESTIMANDS[name].read("income", detail)
    assert set(question.columns) <= {"income", "wage"}
    assert np.isfinite(question(table()[list(question.columns)])).all()
