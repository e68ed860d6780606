import numpy as np
import pytest
import torch
from scipy.special import log_ndtr
from scipy.stats import norm
from torch.distributions import Independent, Normal

from notmiwae import imputation
from notmiwae.encoders import Encoder
from notmiwae.imputation import Evidence, Resampled, WeightedMean
from notmiwae.mechanisms import Ignorable, Linear, SelfMasking
from notmiwae.model import ImportanceSample, LatentVariableModel

SLOPES, INTERCEPTS = [2.0, -2.0, 3.0], [-1.0, 0.3, 2.0]


class Prior(Encoder):
    def forward(self, x, mask):
        return Independent(Normal(torch.zeros(len(x), 1), torch.ones(len(x), 1)), 1)


class Values:
    """A model whose draws are remembered as they are."""

    def resumable(self, sample):
        return sample.missing.mean

    def complete(self, remembered, x, mask):
        return remembered


class Cells:
    def __init__(self, mean):
        self.mean = mean


def weighted(log_weights, values):
    return ImportanceSample(None, log_weights, None, Cells(values))


def self_masking():
    mechanism = SelfMasking(3)
    with torch.no_grad():
        mechanism.weight.copy_(torch.tensor(SLOPES))
        mechanism.intercept.copy_(torch.tensor(INTERCEPTS))
    return mechanism


def conditional(linear_gaussian, row, kept):
    """Mean and covariance of the missing values given the observed ones."""
    mean, covariance = (tensor.double() for tensor in linear_gaussian.joint())
    inner, outer = covariance[kept][:, kept], covariance[~kept][:, kept]
    gain = outer @ inner.inverse()
    loc = mean[~kept] + gain @ (row[kept].double() - mean[kept])
    return loc, covariance[~kept][:, ~kept] - gain @ outer.T


def brute_force(linear_gaussian, row, kept, cell):
    """Grid, and density of one missing cell given the observed ones and the mask."""
    z, x = np.linspace(-6, 6, 601)[:, None], np.linspace(-9, 9, 3601)
    weight, bias, scale = (
        getattr(linear_gaussian, name).double().numpy() for name in ("weight", "bias", "scale")
    )
    log_joint = norm.logpdf(z)
    for j in range(3):
        loc = weight[j] * z + bias[j]
        if kept[j]:
            log_joint = log_joint + norm.logpdf(row[j].item(), loc, scale[j])
        else:
            inside = norm.logpdf(x, loc, scale[j]) + log_ndtr(SLOPES[j] * x + INTERCEPTS[j])
            total = np.logaddexp.reduce(inside, axis=1, keepdims=True)
            log_joint = log_joint + (inside if j == cell else total)
    density = np.exp(log_joint - log_joint.max()).sum(0)
    return x, density / density.sum()


def moments(x, mass):
    mean = (x * mass).sum()
    return mean, np.sqrt(((x - mean) ** 2 * mass).sum())


def missing_cells(mask):
    return [(int(i), int(j)) for i, j in (mask == 0).nonzero()]


@pytest.mark.parametrize("integrate", ["auto", "sample"])
def test_the_conditional_mean_of_a_linear_gaussian_model_is_the_analytic_one(
    linear_gaussian, integrate
):
    x, mask = linear_gaussian.rows()
    found = imputation.conditional_mean(
        [linear_gaussian.model(integrate=integrate)], x, mask, 20_000, seed=1
    )
    for i in (1, 2, 3):
        kept = mask[i].bool()
        expected = conditional(linear_gaussian, x[i], kept)[0].float()
        torch.testing.assert_close(found[i][~kept], expected, atol=0.04, rtol=0)


@pytest.mark.parametrize("integrate", ["auto", "sample"])
def test_draws_of_a_linear_gaussian_model_have_the_analytic_moments(linear_gaussian, integrate):
    x, mask = linear_gaussian.rows()
    model = linear_gaussian.model(integrate=integrate)
    draws = imputation.draws([model], x, mask, 8000, 8000, seed=1)
    assert draws.shape == (8000, 4, 3)
    for i in (1, 2, 3):
        kept = mask[i].bool()
        loc, covariance = conditional(linear_gaussian, x[i], kept)
        values = draws[:, i][:, ~kept].double()
        torch.testing.assert_close(values.mean(0), loc, atol=0.06, rtol=0)
        torch.testing.assert_close(
            values.T.cov().reshape(covariance.shape), covariance, atol=0.12, rtol=0.05
        )


def test_quantiles_of_a_linear_gaussian_model_are_the_analytic_ones(linear_gaussian):
    x, mask = linear_gaussian.rows()
    levels = [0.05, 0.5, 0.9]
    found = imputation.quantiles(
        [linear_gaussian.model()], x, mask, levels, 5000, n_draws=5000, seed=1
    )
    assert found.shape == (4, 3, 3)
    for i in (1, 2, 3):
        kept = mask[i].bool()
        loc, covariance = conditional(linear_gaussian, x[i], kept)
        std = covariance.diagonal().sqrt()
        for level, quantile in zip(levels, found[i][~kept].double().T, strict=True):
            expected = loc + std * norm.ppf(level)
            torch.testing.assert_close(quantile, expected, atol=0.1, rtol=0)


@pytest.mark.parametrize("integrate", ["auto", "sample"])
@pytest.mark.parametrize("encoder", [None, Prior()], ids=["posterior", "prior"])
def test_self_masked_cells_are_imputed_as_by_brute_force(
    monkeypatch, linear_gaussian, integrate, encoder
):
    x, mask = linear_gaussian.rows()
    model = linear_gaussian.model(self_masking(), integrate, encoder)
    monkeypatch.setattr(imputation, "SAMPLES_PER_BLOCK", 5000)
    mean = imputation.conditional_mean([model], x, mask, 40_000, seed=1)
    draws = imputation.draws([model], x, mask, 3000, 10_000, seed=1)
    quantiles = imputation.quantiles([model], x, mask, [0.1, 0.9], 10_000, n_draws=3000, seed=1)
    for i, j in missing_cells(mask):
        grid, mass = brute_force(linear_gaussian, x[i], mask[i].bool(), j)
        expected, std = moments(grid, mass)
        assert mean[i, j].item() == pytest.approx(expected, abs=0.05)
        assert draws[:, i, j].mean().item() == pytest.approx(expected, abs=0.1)
        assert draws[:, i, j].std().item() == pytest.approx(std, rel=0.1)
        for level, quantile in zip((0.1, 0.9), quantiles[i, j], strict=True):
            assert np.interp(quantile, grid, mass.cumsum()) == pytest.approx(level, abs=0.03)


@pytest.mark.parametrize("integrate", ["auto", "sample"])
def test_the_decoder_mean_is_something_else(linear_gaussian, integrate):
    x, mask = linear_gaussian.rows()
    model = linear_gaussian.model(self_masking(), integrate)
    found = imputation.conditional_mean([model], x, mask, 2000, estimator="decoder-mean", seed=1)
    errors = []
    for i, j in missing_cells(mask):
        grid, mass = brute_force(linear_gaussian, x[i], mask[i].bool(), j)
        errors.append(abs(found[i, j].item() - moments(grid, mass)[0]))
    assert max(errors) > 0.3


def test_a_linear_mechanism_is_imputed_as_by_brute_force(linear_gaussian):
    """p(x_1 | x_o, s) ∝ p(x_1 | x_o) Π_j p(s_j | x)."""
    x, mask = (tensor[1:2] for tensor in linear_gaussian.rows())
    mechanism = Linear(3)
    with torch.no_grad():
        mechanism.score.weight.copy_(torch.tensor([[1.0, -2, 0], [0.5, 3, -1], [0, 1, 1]]))
    loc, covariance = conditional(linear_gaussian, x[0], mask[0].bool())
    grid = torch.linspace(-8, 8, 4001)
    rows = x.repeat(4001, 1)
    rows[:, 1] = grid
    log_mass = Normal(loc, covariance.sqrt().squeeze(-1)).log_prob(grid)
    log_mass = log_mass + mechanism(rows).log_prob(mask.expand(4001, 3)).sum(-1)
    expected = (log_mass.softmax(0) * grid).sum().item()
    model = linear_gaussian.model(mechanism)
    found = imputation.conditional_mean([model], x, mask, 50_000, seed=1)[0, 1].item()
    assert found == pytest.approx(expected, abs=0.03)
    assert abs(expected - loc.item()) > 0.2


def test_binary_cells_are_imputed_by_their_probability_given_that_they_are_missing(observe):
    """Given a constant decoder, P(x=1 | missing) = πΦ(a+c) / (πΦ(a+c) + (1-π)Φ(c))."""
    mechanism = SelfMasking(2)
    torch.nn.init.constant_(mechanism.weight, 2.0)
    model = LatentVariableModel(Prior(), observe("bernoulli", 2, [0.0]), mechanism)
    x, mask = torch.zeros(3, 2), torch.tensor([[1.0, 0], [0, 1], [0, 0]])
    high, low = norm.cdf(2), norm.cdf(0)
    expected = high / (high + low)
    found = imputation.conditional_mean([model], x, mask, 50)
    np.testing.assert_allclose(found[mask == 0].numpy(), expected, atol=1e-5)
    draws = imputation.draws([model], x, mask, 4000, 50)
    assert ((draws == 0) | (draws == 1)).all()
    np.testing.assert_allclose(draws.mean(0)[mask == 0].numpy(), expected, atol=0.04)


@pytest.mark.parametrize(("cells", "samples"), [(1, 1), (2000, 7), (5000, 1000)])
@pytest.mark.parametrize("integrate", ["auto", "sample"])
def test_blocks_change_nothing_but_the_noise(
    monkeypatch, linear_gaussian, integrate, cells, samples
):
    x, mask = linear_gaussian.rows()
    model = linear_gaussian.model(self_masking(), integrate)
    arguments = [model], x, mask
    mean = imputation.conditional_mean(*arguments, 20_000)
    monkeypatch.setattr(imputation, "CELLS", cells)
    monkeypatch.setattr(imputation, "SAMPLES_PER_BLOCK", samples)
    blocked = imputation.conditional_mean(*arguments, 803 if samples == 1 else 4003)
    draws = imputation.draws(*arguments, 300, 303)
    missing = mask == 0
    torch.testing.assert_close(blocked[missing], mean[missing], atol=0.15, rtol=0)
    torch.testing.assert_close(draws.mean(0)[missing], mean[missing], atol=0.35, rtol=0)


def test_no_array_is_larger_than_a_block(monkeypatch, linear_gaussian):
    model = linear_gaussian.model(self_masking())
    shapes = []
    model.register_forward_hook(lambda _, inputs, output: shapes.append(output.log_weights.shape))
    monkeypatch.setattr(imputation, "CELLS", 50_000)
    x, mask = (tensor.repeat(25, 1) for tensor in linear_gaussian.rows())
    imputation.conditional_mean([model], x, mask, 50)
    widest = imputation.cells_per_draw(model, x[:1], mask[:1])
    blocks = [shape for shape in shapes if shape[0] == 50]
    assert sum(rows for _, rows in blocks) == 100
    assert all(samples * rows * widest <= 50_000 for samples, rows in blocks)


def test_a_model_without_layers_has_blocks_too(observe):
    model = LatentVariableModel(Prior(), observe("gaussian", 2, [0.5]), Ignorable(2))
    found = imputation.conditional_mean([model], torch.zeros(3, 2), torch.zeros(3, 2), 10)
    torch.testing.assert_close(found, torch.full((3, 2), 0.5))


def test_means_of_blocks_are_the_mean_of_all():
    torch.manual_seed(0)
    log_weights, values = 30 * torch.randn(12, 5), torch.randn(12, 5, 3)
    accumulator = WeightedMean(Values(), None, None, lambda sample: sample.missing.mean)
    for part in torch.arange(12).split([1, 7, 4]):
        accumulator.add(weighted(log_weights[part], values[part]))
    expected = torch.einsum("kn,knd->nd", log_weights.softmax(0), values)
    torch.testing.assert_close(accumulator.result(), expected)


@pytest.mark.parametrize("blocks", [[6], [1, 5], [2, 2, 2], [1] * 6])
def test_the_reservoir_draws_by_weight_whatever_the_blocks(blocks):
    torch.manual_seed(0)
    weights = torch.tensor([[0.1, 4.0, 1.0, 1e-6, 2.9, 2.0], [1.0, 1, 1, 1, 1, 5]]).T
    values = torch.arange(6.0).reshape(6, 1, 1).expand(6, 2, 3)
    accumulator = Resampled(Values(), None, None, 20_000)
    for part in torch.arange(6).split(blocks):
        accumulator.add(weighted(weights[part].log() + 200, values[part]))
    draws = accumulator.result()
    assert draws.shape == (20_000, 2, 3)
    assert (draws == draws[..., :1]).all()
    counts = torch.stack([torch.bincount(row.long(), minlength=6) for row in draws[..., 0].T])
    torch.testing.assert_close(counts / 20_000, weights.T / 10, atol=0.015, rtol=0)


def test_draws_of_a_row_are_independent_of_each_other():
    """Two draws agree as often as their weights say, also across blocks."""
    torch.manual_seed(0)
    values = torch.arange(4.0).reshape(4, 1, 1).expand(4, 5000, 1)
    accumulator = Resampled(Values(), None, None, 2)
    for part in torch.arange(4).split(1):
        accumulator.add(weighted(torch.zeros(1, 5000), values[part]))
    first, second = accumulator.result()
    assert (first == second).float().mean().item() == pytest.approx(0.25, abs=0.03)


def test_constant_weights_have_as_many_effective_samples_as_samples(linear_gaussian):
    x, mask = linear_gaussian.rows()
    diagnostics = imputation.diagnose([linear_gaussian.model()], x, mask, 300)
    torch.testing.assert_close(
        diagnostics.effective_sample_size, torch.full((4,), 300.0), rtol=1e-3, atol=0
    )


def test_evidence_is_that_of_all_blocks_together():
    log_weights = torch.tensor([[0.0, 50.0], [1.0, -50.0], [2.0, 0.0], [0.5, 1.0]])
    accumulator = Evidence(Values(), None, None)
    for part in log_weights.split([1, 3]):
        accumulator.add(weighted(part, None))
    total, squares = accumulator.result()
    weights = log_weights.double().exp()
    torch.testing.assert_close(total.double(), weights.sum(0).log())
    sizes = (2 * total - squares).exp().double()
    expected = weights.sum(0) ** 2 / weights.square().sum(0)
    torch.testing.assert_close(sizes, expected, rtol=1e-4, atol=0)
    assert sizes[1].item() == pytest.approx(1)


def test_the_diagnosed_likelihood_is_the_analytic_one(linear_gaussian):
    x, mask = linear_gaussian.rows()
    found = imputation.diagnose([linear_gaussian.model()], x, mask, 333).log_likelihood
    mean, covariance = linear_gaussian.joint()
    expected = torch.distributions.MultivariateNormal(mean, covariance).log_prob(x[0])
    assert found[0].item() == pytest.approx(expected.item(), abs=1e-4)
    assert found[3].item() == pytest.approx(0, abs=1e-5)
    prior = imputation.diagnose([linear_gaussian.model(encoder=Prior())], x, mask, 30_000)
    torch.testing.assert_close(prior.log_likelihood, found, atol=0.1, rtol=0)
    assert (prior.effective_sample_size[:3] < 30_000 / 2).all()


def test_one_seed_one_result_and_the_global_generator_untouched(linear_gaussian):
    x, mask = linear_gaussian.rows()
    model = linear_gaussian.model(self_masking())
    state = torch.get_rng_state()
    first, second, third = (imputation.draws([model], x, mask, 3, 50, seed=s) for s in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert torch.equal(state, torch.get_rng_state())


def test_an_unknown_estimator_is_answered_with_the_known_ones(linear_gaussian):
    x, mask = linear_gaussian.rows()
    known = "estimator must be one of 'conditional-mean', 'decoder-mean'; got 'mode'"
    with pytest.raises(ValueError, match=known):
        imputation.conditional_mean([linear_gaussian.model()], x, mask, 5, estimator="mode")


def test_imputing_tracks_no_gradient(linear_gaussian):
    x, mask = linear_gaussian.rows()
    model = linear_gaussian.model(self_masking())
    assert not imputation.conditional_mean([model], x, mask, 5).requires_grad
    assert not imputation.draws([model], x, mask, 2, 5).requires_grad


def test_the_brute_force_of_these_tests_agrees_with_algebra(linear_gaussian, monkeypatch):
    """Without a slope the mechanism says nothing, and the grid must give the conditional mean."""
    monkeypatch.setitem(globals(), "SLOPES", [0.0, 0.0, 0.0])
    x, mask = linear_gaussian.rows()
    kept = mask[2].bool()
    loc, _ = conditional(linear_gaussian, x[2], kept)
    for index, cell in enumerate((1, 2)):
        mean, _ = moments(*brute_force(linear_gaussian, x[2], kept, cell))
        assert mean == pytest.approx(loc[index].item(), abs=1e-4)


def shifted(linear_gaussian, by):
    model = linear_gaussian.model()
    with torch.no_grad():
        model.observation.decoder.bias += by
    return model


def test_an_ensemble_averages_means_and_takes_turns_in_draws(linear_gaussian):
    x, mask = (tensor[3:] for tensor in linear_gaussian.rows())
    models = [shifted(linear_gaussian, by) for by in (0.0, 60.0)]
    mean = imputation.conditional_mean(models, x, mask, 2000)
    torch.testing.assert_close(mean[0], linear_gaussian.bias + 30, atol=0.2, rtol=0)
    draws = imputation.draws(models, x, mask, 7, 50)
    assert draws.shape == (7, 1, 3)
    assert ((draws > 30) == (torch.arange(7) % 2 == 1).reshape(7, 1, 1)).all()
    assert imputation.draws(models, x, mask, 1, 50).shape == (1, 1, 3)


def test_draws_of_the_models_of_an_ensemble_do_not_share_their_noise(linear_gaussian):
    """Else multiple imputations by similar models are copies of each other."""
    x, mask = (tensor[3:].repeat(500, 1) for tensor in linear_gaussian.rows())
    model = linear_gaussian.model()
    first, second = imputation.draws([model, model], x, mask, 2, 50)
    assert abs(np.corrcoef(first[:, 0], second[:, 0])[0, 1]) < 0.15


def test_the_likelihood_of_an_ensemble_is_that_of_the_mixture(linear_gaussian):
    x, mask = (tensor[:1] for tensor in linear_gaussian.rows())
    models = [shifted(linear_gaussian, by) for by in (0.0, 1.0)]
    each = [imputation.diagnose([model], x, mask, 5000).log_likelihood for model in models]
    both = imputation.diagnose(models, x, mask, 5000)
    expected = torch.stack(each).exp().mean(0).log()
    torch.testing.assert_close(both.log_likelihood, expected, atol=1e-3, rtol=0)
    assert both.effective_sample_size.shape == (1,)
