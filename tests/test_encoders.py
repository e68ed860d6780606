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
    assert proposal.batch_shape == (7, 2)
    assert (proposal.scale > 0).all()


@pytest.mark.parametrize("name", ENCODERS)
def test_what_stands_under_the_mask_never_reaches_the_proposal(name):
    encoder = encoder_of(name)
    x, mask = torch.randn(20, 4), torch.randint(2, (20, 4)).float()
    other = torch.where(mask.bool(), x, 1e6 * torch.randn(20, 4))
    first, second = encoder(x, mask), encoder(other, mask)
    assert torch.equal(first.loc, second.loc)
    assert torch.equal(first.scale, second.scale)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_observed_value_reaches_the_proposal(name):
    encoder = encoder_of(name)
    x = torch.randn(1, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(encoder(x, torch.ones(1, 4)).loc.sum(), x)
    assert (gradient != 0).all()


@pytest.mark.parametrize("name", sorted(ENCODERS.keys() - {"zero-fill"}))
def test_an_observed_zero_is_told_from_a_missing_cell(name):
    encoder = encoder_of(name)
    x, mask = torch.tensor([[0.0, 1, 1, 1]]), torch.tensor([[0.0, 1, 1, 1]])
    assert not torch.equal(encoder(x, mask).loc, encoder(x, torch.ones(1, 4)).loc)


def test_zero_fill_takes_a_missing_cell_for_a_zero():
    encoder = encoder_of("zero-fill")
    x, mask = torch.tensor([[0.0, 1, 1, 1]]), torch.tensor([[0.0, 1, 1, 1]])
    assert torch.equal(encoder(x, mask).loc, encoder(x, torch.ones(1, 4)).loc)


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
    torch.testing.assert_close(encoder(x, mask).loc[2:3], encoder(x[2:3], mask[2:3]).loc)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_row_with_nothing_observed_has_a_finite_proposal(name):
    proposal = encoder_of(name)(torch.zeros(1, 4), torch.zeros(1, 4))
    assert torch.isfinite(proposal.loc).all()
    assert torch.isfinite(proposal.scale).all()


@pytest.mark.parametrize("name", ENCODERS)
def test_the_scale_does_not_vanish(name):
    encoder = encoder_of(name)
    with torch.no_grad():
        encoder.network[-1].bias.fill_(-1e3)
    assert encoder(torch.zeros(1, 4), torch.ones(1, 4)).scale.min() > 0
