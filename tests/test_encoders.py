import pytest
import torch

from notmiwae.encoders import ENCODERS


def encoder_of(name):
    torch.manual_seed(0)
    encoder = ENCODERS[name](4, 2, (8,), "tanh")
    if name == "learnable-fill":
        torch.nn.init.normal_(encoder.fill)
    return encoder


@pytest.mark.parametrize("name", ENCODERS)
def test_the_proposal_has_one_diagonal_gaussian_per_row(name):
    proposal = encoder_of(name)(torch.randn(7, 4), torch.ones(7, 4))
    assert proposal.batch_shape == (7,)
    assert proposal.event_shape == (2,)
    assert proposal.rsample((5,)).shape == (5, 7, 2)
    assert proposal.log_prob(torch.randn(5, 7, 2)).shape == (5, 7)


@pytest.mark.parametrize("name", ENCODERS)
def test_the_density_of_the_proposal_is_that_of_its_draws(name):
    """A Gaussian with the draws' moments has the density that is claimed."""
    torch.manual_seed(0)
    proposal = encoder_of(name)(torch.randn(3, 4), torch.randint(2, (3, 4)).float())
    draws = proposal.rsample((50_000,)).detach().double()
    at = proposal.rsample((5,)).detach()
    for row in range(3):
        covariance = draws[:, row].T.cov()
        normal = torch.distributions.MultivariateNormal(draws[:, row].mean(0), covariance)
        expected = normal.log_prob(at[:, row].double())
        claimed = proposal.log_prob(at)[:, row].detach().double()
        torch.testing.assert_close(claimed, expected, atol=0.05, rtol=0)


@pytest.mark.parametrize("name", ENCODERS)
def test_draws_of_the_proposal_carry_a_gradient_to_every_parameter(name):
    encoder = encoder_of(name)
    proposal = encoder(torch.randn(9, 4), torch.randint(2, (9, 4)).float())
    proposal.rsample((5,)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in encoder.parameters())


@pytest.mark.parametrize("name", ENCODERS)
def test_what_stands_under_the_mask_never_reaches_the_proposal(name):
    encoder = encoder_of(name)
    x, mask = torch.randn(20, 4), torch.randint(2, (20, 4)).float()
    other = torch.where(mask.bool(), x, 1e6 * torch.randn(20, 4))
    torch.manual_seed(0)
    first = encoder(x, mask).rsample((3,))
    torch.manual_seed(0)
    assert torch.equal(first, encoder(other, mask).rsample((3,)))


@pytest.mark.parametrize("name", ENCODERS)
def test_every_observed_value_reaches_the_proposal(name):
    encoder = encoder_of(name)
    x = torch.randn(1, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(encoder(x, torch.ones(1, 4)).mean.sum(), x)
    assert (gradient != 0).all()


@pytest.mark.parametrize("name", sorted(ENCODERS.keys() - {"zero-fill"}))
def test_an_observed_zero_is_told_from_a_missing_cell(name):
    encoder = encoder_of(name)
    x, mask = torch.tensor([[0.0, 1, 1, 1]]), torch.tensor([[0.0, 1, 1, 1]])
    assert not torch.equal(encoder(x, mask).mean, encoder(x, torch.ones(1, 4)).mean)


def test_zero_fill_takes_a_missing_cell_for_a_zero():
    encoder = encoder_of("zero-fill")
    x, mask = torch.tensor([[0.0, 1, 1, 1]]), torch.tensor([[0.0, 1, 1, 1]])
    assert torch.equal(encoder(x, mask).mean, encoder(x, torch.ones(1, 4)).mean)


def test_a_learnable_fill_stands_where_values_are_missing():
    encoder = encoder_of("learnable-fill")
    x, mask = torch.tensor([[7.0, 1, 2, 3]]), torch.tensor([[0.0, 1, 1, 0]])
    fill = encoder.fill.tolist()
    expected = torch.tensor([[fill[0], 1, 2, fill[3]]])
    torch.testing.assert_close(encoder.summarise(x, mask), expected)


def test_a_missing_cell_leaves_no_trace_in_a_permutation_invariant_sum():
    encoder = encoder_of("permutation-invariant")
    x, mask = torch.randn(1, 4), torch.tensor([[1.0, 0, 1, 0]])
    kept = torch.tensor([2, 0])
    embedding = encoder.embedding
    encoder.embedding = torch.nn.Parameter(embedding[kept])
    alone = encoder.summarise(x[:, kept], torch.ones(1, 2))
    encoder.embedding = embedding
    torch.testing.assert_close(encoder.summarise(x, mask), alone)


@pytest.mark.parametrize("name", ENCODERS)
def test_rows_do_not_mix(name):
    encoder = encoder_of(name)
    x, mask = torch.randn(6, 4), torch.randint(2, (6, 4)).float()
    torch.testing.assert_close(encoder(x, mask).mean[2:3], encoder(x[2:3], mask[2:3]).mean)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_row_with_nothing_observed_has_a_finite_proposal(name):
    proposal = encoder_of(name)(torch.zeros(1, 4), torch.zeros(1, 4))
    assert torch.isfinite(proposal.rsample((5,))).all()


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("size", [-1e3, 1e3])
def test_the_scale_does_not_vanish(name, size):
    encoder = encoder_of(name)
    with torch.no_grad():
        encoder.network[-1].bias.fill_(size)
    proposal = encoder(torch.zeros(1, 4), torch.tensor([[1.0, 0, 1, 0]]))
    draws = proposal.rsample((100,))
    assert (draws.std(0) > 1e-5).all()
    assert torch.isfinite(proposal.log_prob(draws)).all()


def test_a_product_of_experts_is_the_posterior_of_a_linear_model():
    """With all observed and no correction: N(z; P⁻¹ Wᵀ R (x - c), P⁻¹), P = 1 + Wᵀ R W."""
    encoder = encoder_of("product-of-experts")
    with torch.no_grad():
        encoder.network[-1].weight.zero_()
        encoder.network[-1].bias.fill_(-1e3)
        encoder.network[-1].bias[encoder.widths[0] * 2 : -encoder.widths[-1]] = 0
        encoder.offset.copy_(torch.randn(4))
        encoder.log_precision.copy_(torch.randn(4))
    x = torch.randn(5, 4)
    weight, precision = encoder.direction, encoder.log_precision.exp()
    covariance = (torch.eye(2) + weight.T @ (precision.unsqueeze(-1) * weight)).inverse()
    loc = (precision * (x - encoder.offset)) @ weight @ covariance
    expected = torch.distributions.MultivariateNormal(loc, covariance)
    z = torch.randn(7, 5, 2)
    torch.testing.assert_close(encoder(x, torch.ones(5, 4)).log_prob(z), expected.log_prob(z))
