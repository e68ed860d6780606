import pytest
import torch
from torch import nn

from notmiwae.networks import ACTIVATIONS, DECODERS, Penalised, Sum, mlp


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_maps_any_leading_shape_to_its_outputs(name):
    decoder = DECODERS[name](2, 5, (4, 3), "tanh")
    assert decoder(torch.randn(7, 6, 2)).shape == (7, 6, 5)


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_without_hidden_layers_works(name):
    assert DECODERS[name](2, 5, ()).forward(torch.randn(3, 2)).shape == (3, 5)


@pytest.mark.parametrize("name", DECODERS)
def test_a_gradient_reaches_every_last_layer(name):
    decoder = DECODERS[name](2, 5, (4,))
    decoder(torch.randn(9, 2)).square().sum().backward()
    assert any(parameter.grad.abs().sum() > 0 for parameter in decoder.parameters())
    assert all(parameter.grad is not None for parameter in decoder.parameters())


def test_the_linear_decoder_is_affine():
    decoder = DECODERS["linear"](2, 3)
    a, b = torch.randn(2, 4, 2)
    torch.testing.assert_close(decoder(a) + decoder(b), decoder(a + b) + decoder(torch.zeros(2)))


def test_the_sum_starts_as_its_linear_term():
    decoder = DECODERS["linear+mlp"](2, 3, (8,))
    z = torch.randn(10, 2)
    assert isinstance(decoder, Sum)
    torch.testing.assert_close(decoder(z), decoder.terms[0](z), rtol=0, atol=0)


def test_the_sum_adds_all_its_terms():
    terms = [nn.Linear(2, 3) for _ in range(3)]
    z = torch.randn(4, 2)
    torch.testing.assert_close(Sum(*terms)(z), terms[0](z) + terms[1](z) + terms[2](z))


def test_the_sum_can_learn_to_bend():
    decoder = DECODERS["linear+mlp"](1, 1, (16,))
    optimizer = torch.optim.Adam(decoder.parameters(), 0.02)
    z = torch.linspace(-2, 2, 50).unsqueeze(-1)
    for _ in range(200):
        loss = (decoder(z) - z.abs()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.02


@pytest.mark.parametrize("name", ["mlp", "linear+mlp"])
def test_weight_decay_is_for_the_perceptron_only(name):
    decoder = DECODERS[name](2, 3, (4,))
    marked = [module for module in decoder.modules() if isinstance(module, Penalised)]
    assert len(marked) == 1
    assert sum(p.numel() for p in marked[0].parameters()) == 2 * 4 + 4 + 4 * 3 + 3


def test_the_linear_decoder_has_no_weight_decay():
    assert not any(isinstance(module, Penalised) for module in DECODERS["linear"](2, 3).modules())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_hidden_layers_alternate_with_their_activation(name):
    layers = list(mlp(3, 2, (5, 4), name))
    assert [type(layer) for layer in layers[1::2]] == [ACTIVATIONS[name]] * 2
    widths = [(layer.in_features, layer.out_features) for layer in layers[::2]]
    assert widths == [(3, 5), (5, 4), (4, 2)]


def test_an_unknown_activation_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"activation must be one of 'relu', .*; got 'swish'"):
        mlp(3, 2, (5,), "swish")
