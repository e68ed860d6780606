import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import Normal

from notmiwae import MIWAEImputer, NotMIWAEImputer, diagnostics
from notmiwae.diagnostics import direction, pareto_k
from notmiwae.mechanisms import Linear, SelfMasking

SMALL = {
    "hidden": (8,),
    "n_latent": 2,
    "n_samples": 2,
    "max_steps": 6,
    "n_models": 1,
    "n_impute_samples": 200,
    "random_state": 0,
}


def table(n_rows=60, seed=0):
    """Two columns that miss values above a threshold, and a complete one."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, 1)) + 0.5 * rng.normal(size=(n_rows, 3)) + [1, 5, -3]
    x[:, :2][x[:, :2] > [1.3, 5.3]] = np.nan
    return pd.DataFrame(x, columns=["a", "b", "c"])


def fitted(mechanism="self-masking", **settings):
    return NotMIWAEImputer(mechanism, **{**SMALL, **settings}).fit(table())


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.8])
def test_pareto_k_is_that_of_the_tail(shape):
    pytest.importorskip("arviz_stats")
    uniform = np.random.default_rng(0).random((4000, 20))
    assert pareto_k(-shape * np.log(uniform)).mean() == pytest.approx(shape, abs=0.1)


def test_equal_weights_have_no_tail():
    pytest.importorskip("arviz_stats")
    assert np.array_equal(pareto_k(np.zeros((100, 3))), [-np.inf] * 3)


def test_effective_draws_are_those_of_the_definition(linear_gaussian):
    x, mask = linear_gaussian.rows()
    model = linear_gaussian.model(SelfMasking(3))
    effective, _ = diagnostics.tails([model], x, mask, 300, seed=3)
    torch.manual_seed(3)
    with torch.no_grad():
        blocks = [model(x, mask, n_samples).log_weights for n_samples in (128, 128, 44)]
    weights = torch.cat(blocks).double().exp()
    expected = weights.sum(0).square() / weights.square().sum(0)
    assert torch.allclose(effective, expected, rtol=1e-4)


def test_diagnosis_has_a_line_per_row():
    holed = table().set_index(np.arange(60) + 100)
    found = fitted().diagnose(holed)
    assert found.index.equals(holed.index)
    assert found["n_missing"].tolist() == holed.isna().sum(axis=1).tolist()
    assert found["effective_sample_size"].between(1, 200).all()
    assert found["disagreement"].isna().all()
    assert found["trusted"].dtype == bool


def test_models_that_disagree_are_not_trusted():
    imputer = fitted(n_models=2, validation_fraction=0.0)
    with torch.no_grad():
        imputer.models_[1].observation.decoder.terms[0].bias += 5
    with pytest.warns(UserWarning, match="models disagree.*sensitivity"):
        found = imputer.diagnose(table())
    assert not found["trusted"][found["n_missing"] > 0].any()
    assert found["trusted"][found["n_missing"] == 0].all()


def test_few_effective_draws_are_not_trusted(monkeypatch):
    monkeypatch.setattr(diagnostics, "EFFECTIVE_DRAWS", 1e6)
    with pytest.warns(UserWarning, match="raise n_impute_samples"):
        assert not fitted().diagnose(table())["trusted"].all()


def test_without_the_extra_there_is_no_pareto_k(monkeypatch):
    monkeypatch.setattr(diagnostics, "find_spec", lambda name: None)
    found = fitted().diagnose(table())
    assert found["pareto_k"].isna().all()
    assert found["trusted"].any()


def set_line(imputer, slope, intercept):
    """Give every column the same score in its own value."""
    with torch.no_grad():
        mechanism = imputer.model_.mechanism
        mechanism.weight.fill_(slope)
        mechanism.intercept.fill_(intercept)
        imputer.model_.skew.weight.zero_()
    return imputer


def test_missing_probability_is_the_probit_in_the_tables_units():
    imputer = set_line(fitted(), 2.0, -1.0)
    seen = table()["a"]
    values = np.array([0.0, 0.7, 1.5])
    expected = Normal(0.0, 1.0).cdf(
        torch.tensor(2.0 * (values - seen.mean()) / seen.std(ddof=0) - 1)
    )
    assert imputer.missing_probability("a", values) == pytest.approx(expected.numpy(), abs=1e-5)


def test_an_unknown_column_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"column must be one of \['a', 'b', 'c'\]; got 'd'"):
        fitted().missing_probability("d", [0.0])


def test_the_summary_gives_the_threshold_in_the_tables_units():
    imputer = set_line(fitted(), 2.0, -1.0)
    summary = imputer.mechanism_summary()
    assert list(summary.index) == ["a", "b"]  # c misses nothing
    seen = table()["b"]
    line = summary.loc["b"]
    assert line["threshold"] == pytest.approx(seen.mean() + 0.5 * seen.std(ddof=0), rel=1e-5)
    assert line["slope"] == pytest.approx(2)
    assert line["finding"] == "high values go missing"
    assert line["share"] == pytest.approx(seen.isna().mean())
    # Half of the values at the threshold are missing.
    assert imputer.missing_probability("b", [line["threshold"]]) == pytest.approx(0.5, abs=1e-5)


def test_an_ensembles_summary_has_a_spread():
    assert (fitted(n_models=2, validation_fraction=0.0).mechanism_summary()["spread"] >= 0).all()
    assert fitted().mechanism_summary()["spread"].isna().all()


@pytest.mark.parametrize(
    ("probabilities", "finding"),
    [
        ((0.1, 0.5, 0.9), "high values go missing"),
        ((0.9, 0.5, 0.1), "low values go missing"),
        ((0.1, 0.5, 0.1), "middle values go missing"),
        ((0.9, 0.5, 0.9), "extreme values go missing"),
        ((0.50, 0.52, 0.55), "no visible dependence on the value"),
        ((np.nan, np.nan, np.nan), "not modelled"),
    ],
    ids=str,
)
def test_findings_in_words(probabilities, finding):
    assert direction(*probabilities) == finding


@pytest.mark.parametrize("mechanism", ["self-masking-spline", "nonlinear", "at-random"])
def test_a_curve_that_is_no_line_has_no_slope(mechanism):
    summary = fitted(mechanism).mechanism_summary()
    assert summary[["slope", "threshold"]].isna().all(axis=None)
    assert summary[["at_low", "at_mean", "at_high"]].apply(lambda p: p.between(0, 1)).all(axis=None)


def test_a_linear_mechanism_has_the_slopes_of_its_diagonal():
    mechanism = Linear(2)
    with torch.no_grad():
        mechanism.score.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert mechanism.line[0].tolist() == [1, 4]
    assert SelfMasking(2).line.shape == (2, 2)


def test_miwae_models_no_mechanism():
    imputer = MIWAEImputer(**SMALL).fit(table())
    assert set(imputer.mechanism_summary()["finding"]) == {"not modelled"}
    assert np.isnan(imputer.missing_probability("a", [0.0])).all()


def test_the_summary_survives_a_file(tmp_path):
    imputer = fitted()
    imputer.save(tmp_path / "model")
    loaded = NotMIWAEImputer.load(tmp_path / "model")
    pd.testing.assert_frame_equal(loaded.mechanism_summary(), imputer.mechanism_summary())
