from itertools import product

import pytest
import torch

from notmiwae.mechanisms import (
    LINKS,
    MECHANISMS,
    SHARPNESS,
    ColumnwiseMechanism,
    FactorisedMechanism,
    Linear,
    Nonlinear,
    Probit,
    SelfMasking,
    SelfMaskingKnown,
    SelfMaskingQuadratic,
    SelfMaskingSpline,
)

EXPLAINING = [name for name in MECHANISMS if name != "ignorable"]
CONTEXTUAL = [n for n, family in MECHANISMS.items() if issubclass(family, ColumnwiseMechanism)]
DIRECTIONLESS = [name for name in EXPLAINING if name != "self-masking-known"]


def maximum_likelihood(mechanism, x, mask):
    """Fit to complete data."""
    mechanism.start(1 - mask.mean(0))
    optimizer = torch.optim.LBFGS(
        mechanism.parameters(), max_iter=80, line_search_fn="strong_wolfe"
    )

    def loss():
        optimizer.zero_grad()
        value = -mechanism(x).log_prob(mask).sum(-1).mean()
        value.backward()
        return value

    optimizer.step(loss)
    return mechanism


@pytest.mark.parametrize("name", EXPLAINING)
def test_the_probabilities_of_all_masks_sum_to_one(steer, name):
    mechanism = steer(name, 3)
    x = torch.randn(5, 3)
    masks = torch.tensor(list(product([0.0, 1.0], repeat=3))).unsqueeze(1)
    log_probability = mechanism(x).log_prob(masks.expand(8, 5, 3)).sum(-1)
    torch.testing.assert_close(log_probability.exp().sum(0), torch.ones(5))


@pytest.mark.parametrize("name", MECHANISMS)
def test_there_is_one_binary_distribution_per_cell(steer, name):
    distribution = steer(name, 3)(torch.randn(7, 5, 3))
    assert distribution.batch_shape == (7, 5, 3)
    assert distribution.event_shape == ()
    assert distribution.log_prob(torch.ones(5, 3)).shape == (7, 5, 3)


@pytest.mark.parametrize("name", EXPLAINING)
def test_the_mean_is_the_probability_of_being_observed(steer, name):
    distribution = steer(name, 3)(torch.randn(5, 3))
    torch.testing.assert_close(distribution.mean, distribution.log_prob(torch.ones(5, 3)).exp())


@pytest.mark.parametrize("name", EXPLAINING)
def test_delete_keeps_values_as_often_as_the_mechanism_says(steer, name):
    torch.manual_seed(0)
    mechanism, x = steer(name, 3), torch.randn(4, 3)
    mask = mechanism.delete(x.expand(20_000, 4, 3))
    assert ((mask == 0) | (mask == 1)).all()
    assert not mask.requires_grad
    torch.testing.assert_close(mask.mean(0), mechanism(x).mean.detach(), atol=0.015, rtol=0)


@pytest.mark.parametrize("name", MECHANISMS)
def test_a_factorised_mechanism_looks_at_no_other_cell(steer, name):
    mechanism = steer(name, 3)
    x = torch.randn(6, 3)
    other = x.clone()
    other[:, 1] += 1
    changed = mechanism(x).log_prob(torch.ones(6, 3)) != mechanism(other).log_prob(torch.ones(6, 3))
    assert changed[:, [0, 2]].any() == (not isinstance(mechanism, FactorisedMechanism))


def test_the_ignorable_mechanism_says_nothing_of_any_mask():
    log_probability = MECHANISMS["ignorable"](3)(torch.randn(5, 3)).log_prob(torch.zeros(5, 3))
    assert torch.equal(log_probability, torch.zeros(5, 3))


def test_the_ignorable_mechanism_says_why_it_cannot_delete():
    with pytest.raises(ValueError, match="ignorable mechanism does not say"):
        MECHANISMS["ignorable"](3).delete(torch.randn(5, 3))


@pytest.mark.parametrize("link", LINKS)
def test_high_scores_mean_missing(link):
    mechanism = SelfMasking(1, link=link)
    torch.nn.init.constant_(mechanism.weight, 3.0)
    probability = mechanism(torch.tensor([[-2.0], [0.0], [2.0]])).mean.squeeze()
    assert probability[0] > 0.9
    assert probability[1] == 0.5
    assert probability[2] < 0.1


@pytest.mark.parametrize("name", EXPLAINING)
def test_maximum_likelihood_recovers_the_probabilities(steer, name):
    torch.manual_seed(0)
    truth, x = steer(name, 2, spread=0.7), torch.randn(4000, 2)
    fitted = maximum_likelihood(MECHANISMS[name](2), x, truth.delete(x))
    difference = (fitted(x).mean - truth(x).mean).abs().mean().item()
    hidden_layer = name in ("nonlinear", "convolutional-2", "pixelwise")
    assert difference < (0.05 if hidden_layer else 0.02)


@pytest.mark.parametrize("link", LINKS)
def test_maximum_likelihood_recovers_slopes_and_thresholds(link):
    torch.manual_seed(0)
    truth = SelfMasking(3, link=link)
    with torch.no_grad():
        truth.weight.copy_(torch.tensor([1.5, -2.0, 0.0]))
        truth.intercept.copy_(torch.tensor([-0.5, 0.3, -1.0]))
    x = torch.randn(8000, 3)
    fitted = maximum_likelihood(SelfMasking(3, link=link), x, truth.delete(x))
    torch.testing.assert_close(fitted.slope, truth.slope, atol=0.15, rtol=0)
    torch.testing.assert_close(fitted.intercept, truth.intercept, atol=0.1, rtol=0)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("sign", [1.0, -1.0, [1.0, -1.0]])
def test_maximum_likelihood_recovers_slopes_of_known_sign(link, sign):
    torch.manual_seed(0)
    slope = torch.tensor([1.5, 2.0]) * torch.tensor(sign)
    truth = SelfMasking(2, link=link)
    with torch.no_grad():
        truth.weight.copy_(slope)
        truth.intercept.copy_(torch.tensor([-0.5, 0.3]))
    x = torch.randn(8000, 2)
    fitted = maximum_likelihood(SelfMaskingKnown(2, sign=sign, link=link), x, truth.delete(x))
    torch.testing.assert_close(fitted.slope, slope, atol=0.15, rtol=0)


@pytest.mark.parametrize("link", LINKS)
def test_maximum_likelihood_recovers_a_linear_mechanism(link):
    torch.manual_seed(0)
    truth = Linear(2, link=link)
    with torch.no_grad():
        truth.score.weight.copy_(torch.tensor([[1.0, -1.5], [0.0, 0.7]]))
        truth.score.bias.copy_(torch.tensor([-0.5, 0.3]))
    x = torch.randn(8000, 2)
    fitted = maximum_likelihood(Linear(2, link=link), x, truth.delete(x))
    torch.testing.assert_close(fitted.score.weight, truth.score.weight, atol=0.15, rtol=0)
    torch.testing.assert_close(fitted.score.bias, truth.score.bias, atol=0.1, rtol=0)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_known_sign_cannot_be_unlearned(sign):
    torch.manual_seed(0)
    x = torch.randn(2000, 1)
    mask = (sign * x > 0).float()
    fitted = maximum_likelihood(SelfMaskingKnown(1, sign=sign), x, mask)
    assert (sign * fitted.slope >= 0).all()


@pytest.mark.parametrize("name", DIRECTIONLESS)
def test_start_values_leak_no_direction(name):
    mechanism = MECHANISMS[name](3)
    mechanism.start(torch.tensor([0.1, 0.3, 0.5]))
    x = torch.randn(50, 3)
    torch.testing.assert_close(mechanism(x).mean, mechanism(-x).mean)


@pytest.mark.parametrize("link", LINKS)
def test_self_masking_starts_at_the_columns_shares(link):
    share = torch.tensor([0.02, 0.3, 0.9])
    mechanism = SelfMasking(3, link=link)
    mechanism.start(share)
    torch.testing.assert_close(mechanism(torch.randn(5, 3)).mean, (1 - share).expand(5, 3))


@pytest.mark.parametrize("name", EXPLAINING)
@pytest.mark.parametrize("share", [[0.0, 0.5, 1.0], [0.0, 0.0, 0.0], [1e-9, 1 - 1e-7, 0.5]])
def test_any_share_is_a_finite_start(name, share):
    mechanism = MECHANISMS[name](3)
    mechanism.start(torch.tensor(share))
    for mask in (torch.zeros(5, 3), torch.ones(5, 3)):
        assert torch.isfinite(mechanism(torch.randn(5, 3)).log_prob(mask)).all()


@pytest.mark.parametrize("family", [SelfMasking, SelfMaskingKnown])
def test_a_column_without_missing_values_has_and_learns_no_slope(family):
    mechanism = family(2)
    torch.nn.init.constant_(mechanism.weight, 2.0)
    mechanism.start(torch.tensor([0.0, 0.5]))
    assert mechanism.slope[0] == 0
    assert mechanism.slope[1] != 0
    mechanism(torch.randn(5, 2)).log_prob(torch.ones(5, 2)).sum().backward()
    assert mechanism.weight.grad[0] == 0
    assert mechanism.weight.grad[1] != 0


@pytest.mark.parametrize("name", EXPLAINING)
@pytest.mark.parametrize("size", [1e2, 1e4])
def test_extreme_parameters_and_values_stay_finite(steer, name, size):
    mechanism = steer(name, 3, spread=size)
    x = (1e2 * torch.randn(20, 3)).requires_grad_()
    for mask in (torch.zeros(20, 3), torch.ones(20, 3)):
        log_probability = mechanism(x).log_prob(mask)
        gradients = torch.autograd.grad(log_probability.sum(), [x, *mechanism.parameters()])
        assert torch.isfinite(log_probability).all()
        assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("sign", [0, 2, "up", [1, 1], [1, -1, 0.5], [[1, 1, 1]]])
def test_a_bad_sign_is_answered_with_the_good_ones(sign):
    with pytest.raises(ValueError, match=r"sign must be \+1") as error:
        SelfMaskingKnown(3, sign=sign)
    assert repr(sign) in str(error.value)


@pytest.mark.parametrize("family", [SelfMasking, SelfMaskingKnown, Linear, Nonlinear])
def test_an_unknown_link_is_answered_with_the_known_ones(family):
    with pytest.raises(ValueError, match="link must be one of 'probit', 'logit'; got 'cauchit'"):
        family(3, link="cauchit")


def test_probit_log_probabilities_are_accurate_far_out():
    score = torch.tensor([-30.0, -10.0, 0.0, 10.0, 30.0], dtype=torch.float64)
    expected = torch.special.log_ndtr(score)
    torch.testing.assert_close(Probit(score).log_prob(torch.zeros(5)), expected)
    torch.testing.assert_close(Probit(score).log_prob(torch.ones(5)), expected.flip(0))


def test_a_spline_is_the_sum_of_its_hinges():
    torch.manual_seed(0)
    mechanism = SelfMaskingSpline(3)
    hinges = mechanism.bends
    torch.nn.init.normal_(hinges.weight, std=1 / SHARPNESS)
    x = torch.cat([4 * torch.randn(200, 3), hinges.knots.unsqueeze(-1).expand(-1, 3)])
    expected = SHARPNESS * ((x.unsqueeze(-1) - hinges.knots).abs() * hinges.weight).sum(-1)
    torch.testing.assert_close(hinges(x), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", [SelfMaskingQuadratic, SelfMaskingSpline])
@pytest.mark.parametrize("sign", [1, -1])
def test_curved_mechanisms_find_the_tails_or_the_middle(family, sign):
    torch.manual_seed(0)
    x = torch.randn(4000, 1)
    mask = (sign * (x.abs() - 1) < 0).float()
    fitted = maximum_likelihood(family(1), x, mask)
    assert ((fitted(x).mean > 0.5) == (mask == 1)).float().mean() > 0.95


@pytest.mark.parametrize("name", CONTEXTUAL)
def test_context_explains_missingness_by_complete_columns_only(name):
    torch.manual_seed(0)
    x = torch.randn(3000, 3)
    mask = torch.ones(3000, 3)
    mask[:, 1] = (x[:, 0] < 0.5).float()
    mask[:, 2] = (x[:, 1] < 0.5).float()
    fitted = maximum_likelihood(MECHANISMS[name](3, context=True), x, mask)
    explained = ((fitted(x).mean > 0.5) == (mask == 1)).float().mean(0)
    assert explained[1] > 0.97
    changed = x.clone()
    changed[:, 1] += 1
    assert torch.equal(fitted(x).mean[:, 2], fitted(changed).mean[:, 2])


@pytest.mark.parametrize("name", CONTEXTUAL)
def test_context_starts_at_nothing(name):
    mechanism = MECHANISMS[name](3, context=True)
    mechanism.start(torch.tensor([0.0, 0.3, 0.5]))
    x = torch.randn(6, 3)
    other = x.clone()
    other[:, 0] += 5
    assert torch.equal(mechanism(x).mean[:, 1:], mechanism(other).mean[:, 1:])


def test_at_random_leaves_values_unexplained_by_themselves():
    mechanism = MECHANISMS["at-random"](2)
    mechanism.start(torch.tensor([0.2, 0.4]))
    found = mechanism(torch.randn(5, 2)).mean
    torch.testing.assert_close(found, torch.tensor([0.8, 0.6]).expand(5, 2))
