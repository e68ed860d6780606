import pytest
import torch
from torch import nn

from notmiwae.blocks import BlockMechanism, Blocks, Embedded, Embedding, Layout
from notmiwae.encoders import ENCODERS
from notmiwae.limits import Limit
from notmiwae.mechanisms import AtRandom, Ignorable, SelfMasking, SelfMaskingCategories
from notmiwae.model import LatentVariableModel
from notmiwae.observations import OBSERVATIONS

BLOCKS = [[2, 0], [1], [4], [3, 5]]
FAMILIES = ["gaussian", "bernoulli", "count", "categorical"]
N_CODES = [0, 0, 0, 4, 0, 4]


def linear(n_outputs):
    return nn.Linear(2, n_outputs)


@pytest.fixture
def blocks():
    return Blocks(BLOCKS, [OBSERVATIONS[name] for name in FAMILIES], linear)


@pytest.fixture
def mechanism():
    parts = [SelfMasking(2), SelfMasking(1), AtRandom(1, context=False), SelfMaskingCategories(2)]
    made = BlockMechanism(BLOCKS, parts, Embedding(N_CODES, torch.zeros(12)), [True] * 4)
    made.start(torch.tensor([0.2, 0.3, 0.4, 0.2, 0.0, 0.5]))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return made


def rows():
    x = torch.tensor([[0.3, 1.0, -2.0, 2.0, 5.0, 4.0], [-0.1, 0.0, 1.0, 1.0, 0.0, 3.0]])
    mask = torch.tensor([[1.0, 1, 0, 0, 1, 1], [0, 0, 1, 1, 0, 0]])
    return x * mask, mask


def test_columns_are_split_and_joined_in_their_order():
    layout, x = Layout(BLOCKS), torch.randn(3, 6)
    assert torch.equal(layout.join(layout.split(x)), x)
    assert torch.equal(layout.split(x)[0], x[:, [2, 0]])


def test_blocks_are_their_families_side_by_side(blocks):
    z = torch.randn(4, 2, 2)
    x, _ = rows()
    joined = blocks(z)
    assert joined.batch_shape == (4, 2, 6)
    assert joined.event_shape == ()
    raw = blocks.trunk(z)
    for columns, part in zip(BLOCKS, blocks.parts, strict=True):
        alone = part(raw)
        assert torch.equal(joined.log_prob(x)[..., columns], alone.log_prob(x[..., columns]))
        assert torch.equal(joined.mean[..., columns], alone.mean)
    assert joined.sample().shape == (4, 2, 6)


def test_one_trunk_makes_all_parameters(blocks):
    assert blocks.trunk.out_features == 2 + 1 + 1 + 2 * 4


def test_a_blocks_missing_cells_are_those_of_its_own_mechanism(blocks, mechanism):
    x, _ = rows()
    joined = blocks(torch.randn(4, 2, 2))
    cells = mechanism.tilt(blocks, joined, x, torch.zeros_like(x))
    assert cells.log_normaliser.shape == cells.mean.shape == cells.sample().shape == (4, 2, 6)
    offset = mechanism.offsets(x)[3] + mechanism.parts[3].intercept
    alone = mechanism.parts[3].integrate(blocks.parts[3], joined.parts[3], offset)
    assert torch.equal(cells.log_normaliser[..., [3, 5]], alone.log_normaliser)


def test_what_is_expected_settles_to_the_most_probable_category(blocks, mechanism):
    x, _ = rows()
    joined = blocks(torch.randn(4, 2, 2))
    for of in (joined, mechanism.tilt(blocks, joined, x, torch.zeros_like(x))):
        assert of.expected.shape == (4, 2, 12)
        probabilities = of.expected[..., 4:].unflatten(-1, (2, 4))
        torch.testing.assert_close(probabilities.sum(-1), torch.ones(4, 2, 2))
        settled = blocks.settle(of.expected)
        assert torch.equal(settled[..., [3, 5]], probabilities.argmax(-1) + 1.0)
        assert torch.equal(settled[..., [2, 0]], of.mean[..., [2, 0]])


def test_enumerated_categories_are_bayes_rule(blocks, mechanism):
    x, _ = rows()
    joined = blocks(torch.randn(1, 2, 2))
    prior = joined.parts[3].probabilities
    levels = torch.arange(1, 5.0).expand(2, 4).T
    missing = mechanism.parts[3].given(levels, mechanism.offsets(x)[3][:, None]).mean
    joint = prior * (1 - missing).movedim(1, -1)
    found = mechanism.tilt(blocks, joined, x, torch.zeros_like(x))
    torch.testing.assert_close(found.log_normaliser[..., [3, 5]], joint.sum(-1).log())
    expected = joint / joint.sum(-1, keepdim=True)
    torch.testing.assert_close(found.expected[..., 4:].unflatten(-1, (2, 4)), expected)


def test_maximum_likelihood_recovers_which_categories_go_missing():
    torch.manual_seed(0)
    share = torch.tensor([0.1, 0.7, 0.4])
    x = torch.randint(1, 4, (6000, 1)).float()
    mask = 1 - torch.bernoulli(share[x.long() - 1])
    mechanism = SelfMaskingCategories(1, n_codes=3)
    mechanism.start(1 - mask.mean(0))
    optimizer = torch.optim.LBFGS(mechanism.parameters(), line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = -mechanism(x).log_prob(mask).mean()
        value.backward()
        return value

    for _ in range(5):
        optimizer.step(loss)
    found = 1 - mechanism(torch.tensor([[1.0], [2.0], [3.0]])).mean.detach().squeeze()
    torch.testing.assert_close(found, share, atol=0.03, rtol=0)


def test_networks_see_one_number_per_category_and_nothing_where_it_is_missing():
    average = torch.tensor([0.0, 0.4, 0.2, 0.5, 0.3])
    embedding = Embedding([0, 0, 3], average)
    found = embedding(torch.tensor([[1.5, 1.0, 2.0], [0.0, 0.0, 0.0]]))
    torch.testing.assert_close(found[0], torch.tensor([1.5, 0.6, -0.2, 0.5, -0.3]))
    assert found[1, 2:].tolist() == [0, 0, 0]
    assert embedding.widen(torch.tensor([[1.0, 0, 1]])).tolist() == [[1, 0, 1, 1, 1]]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_what_stands_under_the_mask_changes_no_weight(blocks, mechanism, encoder):
    embedding = Embedding(N_CODES, torch.full((12,), 0.25))
    network = Embedded(embedding, ENCODERS[encoder](12, 2, (5,)))
    model = LatentVariableModel(network, blocks, mechanism)
    x, mask = rows()
    weights = []
    for values in (x, torch.where(mask.bool(), x, 2.0)):
        torch.manual_seed(1)
        weights.append(model(values, mask, 4).log_weights)
    assert torch.isfinite(weights[0]).all()
    assert torch.equal(*weights)


def test_only_blocks_that_listen_hear_complete_columns(blocks):
    parts = [SelfMasking(2), SelfMasking(1), AtRandom(1, context=False), Ignorable(2)]
    listens = [True, False, False, False]
    made = BlockMechanism(BLOCKS, parts, Embedding(N_CODES, torch.zeros(12)), listens)
    made.start(torch.tensor([0.2, 0.3, 0.4, 0.2, 0.0, 0.5]))
    nn.init.normal_(made.context.weight)
    x, _ = rows()
    other = x.clone()
    other[:, 4] += 1  # the complete one
    seen = torch.ones_like(x)
    changed = (made(x).log_prob(seen) != made(other).log_prob(seen)).any(0)
    assert changed.tolist() == [True, False, True, False, False, False]
    other[:, 1] += 1
    offsets = zip(made.offsets(x)[1:], made.offsets(other)[1:], strict=True)
    assert all(torch.equal(*pair) for pair in offsets)


def test_blocks_with_a_limit_give_no_probability_to_what_is_within():
    blocks = Blocks([[0], [1]], [OBSERVATIONS["gaussian"], OBSERVATIONS["count"]], linear)
    embedding = Embedding([0, 0], torch.zeros(2))
    parts = [Limit(1, limit=0.5, sign=1.0), Limit(1, limit=3.0, sign=-1.0)]
    mechanism = BlockMechanism([[0], [1]], parts, embedding, [False, False])
    cells = mechanism.tilt(blocks, blocks(torch.randn(500, 1, 2)), *torch.zeros(2, 1, 2))
    draws = cells.sample()
    assert (draws[..., 0] >= 0.5).all()
    assert (draws[..., 1] <= 2).all()
    assert (cells.mean[..., 0] > 0.5).all()
    assert (cells.mean[..., 1] < 3).all()
