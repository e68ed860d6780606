import pytest
import torch

from notmiwae.bounds import evidence_lower_bound, importance_weighted


def test_the_importance_weighted_bound_is_the_log_of_each_rows_mean_weight():
    weights = torch.tensor([[1.0, 5.0], [3.0, 1.0], [8.0, 0.0]])
    expected = torch.tensor([4.0, 2.0]).log()
    torch.testing.assert_close(importance_weighted(weights.log()), expected)


@pytest.mark.parametrize("bound", [importance_weighted, evidence_lower_bound])
def test_one_sample_is_its_own_bound(bound):
    log_weights = torch.randn(1, 5)
    torch.testing.assert_close(bound(log_weights), log_weights[0])


@pytest.mark.parametrize("bound", [importance_weighted, evidence_lower_bound])
def test_rows_do_not_mix(bound):
    log_weights = torch.randn(7, 5)
    changed = log_weights.clone()
    changed[:, 1:] += 100
    assert bound(changed).shape == (5,)
    torch.testing.assert_close(bound(changed)[0], bound(log_weights)[0])


def test_the_evidence_lower_bound_is_the_mean_log_weight_and_lower():
    log_weights = torch.randn(7, 5)
    torch.testing.assert_close(evidence_lower_bound(log_weights), log_weights.mean(0))
    assert (evidence_lower_bound(log_weights) < importance_weighted(log_weights)).all()


def test_far_out_weights_neither_overflow_nor_vanish():
    log_weights = torch.tensor([[-1e5, 1e5], [-1e5, 1e5]])
    torch.testing.assert_close(importance_weighted(log_weights), torch.tensor([-1e5, 1e5]))


def test_gradients_are_the_normalised_weights():
    log_weights = torch.randn(7, 5, requires_grad=True)
    (gradient,) = torch.autograd.grad(importance_weighted(log_weights).sum(), log_weights)
    torch.testing.assert_close(gradient, log_weights.softmax(0))
