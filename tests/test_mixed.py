"""Tables whose columns differ in kind or in why they miss values, through the imputers."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest

from notmiwae import MIWAEImputer, NotMIWAEImputer

SMALL = {
    "hidden": (8,),
    "n_latent": 2,
    "n_samples": 2,
    "max_steps": 6,
    "n_models": 1,
    "n_impute_samples": 20,
    "random_state": 0,
}


def table(n_rows=60, seed=0):
    """One column of each kind, all of them about the same latent number, and its holes."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n_rows)
    noise = rng.normal(size=(n_rows, 3))
    place = np.digitize(z + 0.3 * noise[:, 0], [-0.5, 0.5])
    whole = pd.DataFrame(
        {
            "age": 40 + 10 * z + noise[:, 1],
            "income": np.exp(3 + 0.7 * z),
            "share": 1 / (1 + np.exp(-z)),
            "smoker": np.where(z + noise[:, 2] > 0, "yes", "no"),
            "city": pd.Categorical(np.array(["Rome", "Oslo", "Lima"])[place]),
            "grade": pd.Categorical(
                np.array(["low", "mid", "high"])[place], ["low", "mid", "high"], ordered=True
            ),
            "visits": pd.array(rng.poisson(np.exp(z)), "Int64"),
            "member": pd.array(z > 0, "boolean"),
            "single": np.float32(z),
        },
        index=np.arange(n_rows) + 100,
    )
    return whole, whole.mask(rng.random(whole.shape) < 0.2)


def imputer(mechanism="self-masking", **settings):
    return NotMIWAEImputer(mechanism, **{**SMALL, **settings})


def assert_filled(filled, holes):
    assert type(filled) is type(holes)
    assert filled.index.equals(holes.index)
    assert filled.columns.equals(holes.columns)
    assert filled.dtypes.equals(holes.dtypes)
    assert not filled.isna().any(axis=None)
    for name in holes:
        seen = holes[name].notna()
        assert filled.loc[seen, name].equals(holes.loc[seen, name])


@pytest.mark.parametrize(
    "mechanism",
    [
        "auto",
        "at-random",
        "ignorable",
        "self-masking",
        "self-masking-known",
        "self-masking-quadratic",
        "self-masking-spline",
    ],
)
def test_a_frame_of_all_kinds_comes_back_as_it_was_without_holes(mechanism):
    _, holes = table()
    before = holes.copy()
    model = imputer(mechanism, types={"share": "bounded"})
    assert_filled(model.fit_transform(holes), holes)
    pd.testing.assert_frame_equal(holes, before)
    kinds = [kind.name for kind in model.schema_.columns]
    assert kinds[3:8] == ["binary", "categorical", "ordinal", "count", "binary"]
    assert np.isfinite(model.score(holes))


def test_a_frame_of_all_kinds_needs_no_settings():
    _, holes = table()
    settings = {"max_steps": 2, "n_impute_samples": 10}
    for fresh in (NotMIWAEImputer(**settings), MIWAEImputer(**settings)):
        assert_filled(fresh.fit_transform(holes), holes)


def test_draws_are_frames_that_agree_where_something_is_observed():
    _, holes = table()
    draws = imputer().fit(holes).sample(holes, 3)
    assert len(draws) == 3
    for draw in draws:
        assert_filled(draw, holes)
    assert not draws[0].equals(draws[1])


def test_intervals_are_in_the_tables_units_and_hold_no_labels():
    whole, holes = table()
    ends = imputer().fit(holes).predict_interval(holes, 0.8)
    assert ends.shape == (*holes.shape, 2)
    numbers = [whole.columns.get_loc(name) for name in ("age", "income", "visits", "single")]
    assert np.isfinite(ends[:, numbers]).all()
    assert np.isnan(ends[:, whole.columns.get_loc("city")]).all()
    assert (ends[:, whole.columns.get_loc("income")] > 0).all()
    seen = holes["age"].notna()
    np.testing.assert_allclose(ends[seen, 0, 0], holes.loc[seen, "age"])


@pytest.mark.parametrize("estimator", ["conditional-mean", "median", "decoder-mean"])
def test_every_estimator_fills_all_kinds(estimator):
    _, holes = table()
    assert_filled(imputer(estimator=estimator).fit_transform(holes), holes)


def test_values_stay_where_their_kind_lets_them_be():
    _, holes = table()
    filled = imputer(types={"share": "bounded"}).fit(holes).sample(holes, 5)
    for draw in filled:
        assert draw["share"].between(0, 1).all()
        assert (draw["income"] > 0).all()
        assert (draw["visits"] >= 0).all()
        assert set(draw["smoker"]) <= {"yes", "no"}


def test_polars_frames_come_back_as_polars_frames():
    polars = pytest.importorskip("polars")
    _, holes = table()
    columns = {
        "age": [None if v != v else v for v in holes["age"]],
        "visits": holes["visits"].astype(object).where(holes["visits"].notna(), None).tolist(),
        "member": holes["member"].astype(object).where(holes["member"].notna(), None).tolist(),
    }
    frame = polars.DataFrame(columns).with_columns(
        polars.Series(
            "smoker", holes["smoker"].astype(object).where(holes["smoker"].notna(), None)
        ),
        polars.Series("city", holes["city"].astype(object).where(holes["city"].notna(), None)).cast(
            polars.Enum(["Lima", "Oslo", "Paris", "Rome"])
        ),
        polars.date_range(polars.date(2020, 1, 1), polars.date(2020, 2, 29), eager=True).alias(
            "day"
        ),
    )
    with pytest.warns(UserWarning, match="'day': it holds dates"):
        model = imputer().fit(frame)
    filled = model.transform(frame)
    assert isinstance(filled, polars.DataFrame)
    assert filled.schema == frame.schema
    assert sum(filled.null_count().row(0)) == 0
    for name in frame.columns:
        seen = frame[name].is_not_null()
        assert filled[name].filter(seen).equals(frame[name].filter(seen))


def test_arrays_with_types_come_back_as_arrays():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (50, 3)).astype(float)
    x[rng.random(x.shape) < 0.2] = np.nan
    filled = imputer(types={0: "categorical", 1: "ordinal", "*": "count"}).fit_transform(x)
    assert isinstance(filled, np.ndarray)
    assert np.array_equal(filled[~np.isnan(x)], x[~np.isnan(x)])
    assert np.isin(filled[:, :2], [0, 1, 2]).all()
    assert (filled == np.round(filled)).all()


def test_a_frame_of_numbers_is_treated_as_ever():
    """But for what `types` says."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.poisson(2, (50, 3)).astype(float), columns=list("abc"))
    frame = frame.mask(rng.random(frame.shape) < 0.2)
    plain = imputer().fit(frame)
    assert plain.schema_ is None
    assert np.array_equal(plain.transform(frame), imputer().fit_transform(frame.to_numpy()))
    assert_filled(imputer(types={"a": "count"}).fit_transform(frame), frame)


def test_what_the_model_cannot_use_is_left_as_it_is_and_said_so():
    _, holes = table()
    holes["name"] = [f"person {i}" for i in range(60)]
    holes["born"] = pd.date_range("1950-01-01", periods=60)
    holes["nothing"] = None
    holes.loc[holes.index[3], "name"] = None
    with pytest.warns(UserWarning, match="'name': it holds 59 different labels") as caught:
        model = imputer().fit(holes)
    assert "'born': it holds dates" in str(caught[0].message)
    assert "'nothing': nothing is observed in it" in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filled = model.transform(holes)
    extra = ["name", "born", "nothing"]
    assert filled[extra].equals(holes[extra])
    assert_filled(filled.drop(columns=extra), holes.drop(columns=extra))
    model.set_params(keep_empty_features=False)
    assert "nothing" not in model.transform(holes)


def test_a_column_can_be_left_out_without_a_word():
    _, holes = table()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filled = imputer(types={"city": "left-out"}).fit_transform(holes)
    assert filled["city"].equals(holes["city"])
    assert not filled["grade"].isna().any()


def test_a_table_of_nothing_but_identifiers_is_refused():
    with pytest.raises(ValueError, match="no column to learn from: 'name'"):
        imputer().fit(pd.DataFrame({"name": [f"person {i}" for i in range(60)]}))


def test_labels_that_were_not_there_in_fit_stay_and_count_as_unknown():
    _, holes = table()
    model = imputer().fit(holes)
    new = holes.astype({"city": object}).head(5).copy()
    new["city"] = ["Rome", "Paris", None, "Oslo", "Kyiv"]
    with pytest.warns(UserWarning, match=r"'city': \['Paris', 'Kyiv'\]"):
        filled = model.transform(new)
    assert filled["city"].tolist()[:2] == ["Rome", "Paris"]
    assert filled["city"][102] in {"Rome", "Oslo", "Lima"}


def test_categories_keep_those_that_do_not_appear():
    _, holes = table()
    holes["city"] = holes["city"].cat.add_categories(["Kyiv"])
    model = imputer().fit(holes)
    filled = model.transform(holes)
    assert filled["city"].dtype == holes["city"].dtype
    assert "Kyiv" not in set(filled["city"])
    narrow = holes.head(20).assign(city=pd.Categorical([None] * 20, ["Rome"]))
    assert set(narrow["city"].cat.categories) <= set(model.transform(narrow)["city"].cat.categories)


def test_indicators_follow_at_the_right():
    _, holes = table()
    model = imputer(add_indicator=True).fit(holes)
    filled = model.transform(holes)
    names = model.get_feature_names_out().tolist()
    assert filled.columns.tolist() == names
    assert np.array_equal(filled["missingindicator_city"], holes["city"].isna())


@pytest.mark.parametrize("container", ["pandas", "polars", "default"])
def test_set_output_chooses_the_container(container):
    pytest.importorskip(container) if container != "default" else None
    _, holes = table()
    filled = imputer().set_output(transform=container).fit_transform(holes)
    assert type(filled).__module__.split(".")[0] == (
        "polars" if container == "polars" else "pandas"
    )
    assert list(filled.columns) == list(holes.columns)


def test_a_saved_model_fills_alike(tmp_path):
    _, holes = table()
    given = {"income": "self-masking-known:+", "age": "ignorable", "*": "self-masking"}
    model = imputer(given, types={"share": "bounded", "grade": ["low", "mid", "high"]}).fit(holes)
    model.save(tmp_path / "model")
    loaded = NotMIWAEImputer.load(tmp_path / "model")
    assert loaded.transform(holes).equals(model.transform(holes))
    assert loaded.get_params()["mechanism"] == given
    json.loads((tmp_path / "model" / "imputer.json").read_text())


def test_numbers_as_names_survive_a_file(tmp_path):
    x = np.random.default_rng(0).normal(size=(30, 3))
    x[::4, 0] = np.nan
    model = imputer({0: "self-masking", "*": "ignorable"}).fit(x)
    model.save(tmp_path / "model")
    assert NotMIWAEImputer.load(tmp_path / "model").get_params()["mechanism"] == model.mechanism


def test_the_summary_speaks_of_labels_and_of_numbers():
    rng = np.random.default_rng(0)
    n_rows = 400
    frame = pd.DataFrame(
        {"x": rng.normal(size=n_rows), "city": rng.choice(["a", "b", "c"], n_rows)}
    )
    frame["twin"] = frame["city"]
    frame.loc[(frame["city"] == "b") & (rng.random(n_rows) < 0.8), "city"] = None
    frame.loc[frame["x"] > 1, "x"] = np.nan
    settings = {"max_steps": 150, "n_samples": 5, "learning_rate": 0.05}
    model = imputer("self-masking", **settings).fit(frame)
    summary = model.mechanism_summary()
    assert summary.loc["city", "finding"].startswith("'b' goes missing most often")
    assert list(summary.index) == ["x", "city"]
    probability = model.missing_probability("city", ["a", "b"])
    assert probability[1] > probability[0] + 0.2
    filled = model.transform(frame)
    hidden = frame["city"].isna()
    assert (filled.loc[hidden, "city"] == "b").mean() > 0.9


def test_diagnosis_of_an_ensemble():
    _, holes = table()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = (
            imputer(n_models=2, n_impute_samples=100, validation_fraction=0)
            .fit(holes)
            .diagnose(holes)
        )
    assert found.index.equals(holes.index)
    assert np.isfinite(found["disagreement"]).all()


def numbers(n_rows=300):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n_rows, 1)) + 0.4 * rng.normal(size=(n_rows, 3)) + [0, 5, 0]
    return pd.DataFrame(x, columns=["a", "b", "c"])


def test_each_column_has_the_mechanism_that_is_stated():
    frame = numbers()
    frame.loc[frame["a"] > 0.5, "a"] = np.nan
    frame.loc[frame["b"] < 4.5, "b"] = np.nan
    given = {"a": "self-masking-known:+", "b": "self-masking-known:-", "*": "ignorable"}
    model = imputer(given, max_steps=60).fit(frame)
    summary = model.mechanism_summary()
    assert summary["slope"]["a"] > 0 > summary["slope"]["b"]
    assert summary.loc["a", "finding"] != "not modelled"
    assert np.isfinite(model.transform(frame)).all()
    assert model.selection_.chosen == "by column"


def test_columns_that_nothing_is_said_of_are_chosen_for():
    frame = numbers(80)
    frame.loc[frame["a"] > 0.5, ["a", "b"]] = np.nan
    model = imputer({"a": "ignorable"}).fit(frame)
    assert len(model.selection_.bounds) > 1


def test_nothing_is_compared_where_all_columns_with_holes_have_their_mechanism(tmp_path):
    frame = numbers(80)
    frame.loc[frame["a"] > 0.5, "a"] = np.nan
    model = imputer({"a": "self-masking-known:+"}).fit(frame)
    assert [*model.candidates_] == ["by column"]
    model.save(tmp_path)
    filled = NotMIWAEImputer.load(tmp_path).transform(frame)
    np.testing.assert_array_equal(filled, model.transform(frame))


@pytest.mark.parametrize("labels", [False, True])
def test_no_value_is_imputed_on_the_wrong_side_of_a_limit(labels):
    whole = numbers()
    frame = whole.copy()
    frame.loc[whole["a"] < -0.5, "a"] = np.nan
    frame.loc[whole["b"] > 5.5, "b"] = np.nan
    if labels:
        frame["d"] = np.where(whole["c"] > 0, "x", "y")
    limits = {"a": "below:-0.5", "b": "above:5.5", "*": "ignorable"}
    model = imputer(limits, max_steps=60, n_samples=5).fit(frame)
    hidden = frame.isna()
    for filled in [model.transform(frame), *model.sample(frame, 4)]:
        filled = pd.DataFrame(np.asarray(filled), columns=frame.columns)
        assert (filled["a"][hidden["a"].to_numpy()] <= -0.5).all()
        assert (filled["b"][hidden["b"].to_numpy()] >= 5.5).all()
    ends = model.predict_interval(frame)[..., :2, :]
    assert (ends[hidden["a"], 0] <= -0.5).all()
    single = pd.DataFrame(np.asarray(model.transform(frame)), columns=frame.columns)
    error = (single["a"].astype(float).to_numpy() - whole["a"])[hidden["a"]]
    assert np.sqrt(np.mean(error**2)) < 1


def test_whole_numbers_below_a_limit_are_below_it():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"n": pd.array(rng.integers(10, 90, 80), "Int64"), "x": rng.random(80)})
    frame.loc[frame["n"] < 30, "n"] = pd.NA
    filled = imputer({"n": "below:30", "*": "ignorable"}, types={}).fit_transform(frame)
    assert (filled["n"][frame["n"].isna()] < 30).all()


@pytest.mark.parametrize(
    ("mechanism", "says"),
    [
        ({"heigth": "ignorable"}, r"names column\(s\) \['heigth'\], which the table has not"),
        ({"age": "selfmask"}, "mechanism must be one of 'auto', 'ignorable'.*'below:LIMIT'"),
        ({"age": "below:low"}, "needs a number, as in 'below:0.5'"),
        ({"age": "linear"}, "depends on all columns and cannot be that of some"),
        ({"age": "above:20", "*": "ignorable"}, "is said to be missing above 20, and holds"),
        ({"city": "self-masking-known:+", "*": "ignorable"}, "its categories have no order"),
        ({"city": "above:3", "*": "ignorable"}, "its categories have no order"),
        (
            {"grade": "above:3", "*": "ignorable"},
            "a limit is a number, and the column holds labels",
        ),
        ({}, "mechanism names no column"),
        ("linear", "use a self-masking mechanism with integrate='auto'"),
    ],
)
def test_a_statement_that_means_nothing_is_refused(mechanism, says):
    with pytest.raises(ValueError, match=says):
        imputer(mechanism).fit(table()[1])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"types": "count"}, "types must be a mapping"),
        ({"types": {"heigth": "count"}}, r"types names column\(s\) \['heigth'\]"),
        ({"types": {"age": "number"}}, "a column's type must be one of 'continuous'"),
        ({"observation": "bernoulli"}, "cannot be that of all columns here"),
        ({"missing_values": -1}, "is for tables of numbers only"),
    ],
)
def test_settings_that_do_not_fit_a_mixed_table_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        imputer(**settings).fit(table()[1])


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinite_value_is_refused_by_the_name_of_its_column(value):
    _, holes = table()
    holes.iloc[3, 0] = value
    with pytest.raises(ValueError, match="column 'age' holds an infinite value"):
        imputer().fit(holes)


def test_a_table_with_other_columns_is_refused():
    _, holes = table()
    model = imputer().fit(holes)
    with pytest.raises(ValueError, match="feature names"):
        model.transform(holes.rename(columns={"age": "years"}))
