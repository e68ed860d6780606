import math

import pytest
import torch

from notmiwae.selection import BENDS, CANDIDATES, MARGINS, select, typical_bounds

FLAT, STRAIGHT, IN_CONTEXT, BENT = CANDIDATES


def choose(*bounds, n_columns=1, **options):
    return select(dict(zip(CANDIDATES, bounds, strict=True)), n_columns, **options)


def test_flexibility_has_to_pay():
    assert choose(-5, -4.995, -4.995, -4.995).chosen == FLAT
    assert choose(-5, -4.98, -4.975, -4.97).chosen == STRAIGHT
    assert choose(-5, -4.98, -4.96, -4.95).chosen == IN_CONTEXT
    assert choose(-5, -4.98, -4.97, -4.89).chosen == BENT


def test_bends_are_measured_against_the_same_mechanism_without_them():
    """Others may explain as much by other means: bends that are worth it need only be better."""
    assert choose(-5, -4.9, -4.8, -4.79).chosen == BENT
    assert choose(-5, -4.9, -4.8, -4.81).chosen == IN_CONTEXT
    assert choose(-5, -5.2, -5.1, -5.01).chosen == FLAT
    assert "self-masking-spline 0.08 over self-masking" in str(choose(-5, -5, -5, -5))


def test_margins_and_tolerance_are_per_column():
    bounds = (-5, -4.97, -4.9, -4.8)
    assert choose(*bounds, n_columns=1).chosen == BENT
    assert choose(*bounds, n_columns=3).chosen == IN_CONTEXT
    assert choose(*bounds, n_columns=20).chosen == FLAT


def test_what_comes_near_is_averaged_but_not_bends_with_lines():
    assert choose(-5, -4.9, -4.92, -4.91).averaged == [STRAIGHT, IN_CONTEXT]
    assert choose(-5, -4.9, -4.95, -4.9).averaged == [STRAIGHT]
    assert choose(-5, -4.9, -4.8, -4.79).averaged == [BENT]
    assert choose(-5, -4.9, -4.9, -5, tolerance=-math.inf).averaged == [STRAIGHT]


def test_a_few_rows_do_not_choose():
    """Rows that the model of the data hardly explains gain or lose tens of nats by any change."""
    usual = torch.randn(100)
    gain = torch.full((100,), 0.1)
    outlying = gain.clone()
    outlying[:4] = -40
    bounds = typical_bounds({FLAT: usual, STRAIGHT: usual + gain, IN_CONTEXT: usual + outlying})
    mean = usual.mean().item()
    expected = {FLAT: mean, STRAIGHT: mean + 0.1, IN_CONTEXT: mean + 0.1}
    assert bounds == pytest.approx(expected, abs=1e-5)


def test_without_held_out_rows_the_simplest_is_chosen():
    nothing = select(typical_bounds(dict.fromkeys(CANDIDATES, torch.full((1,), math.nan))), 1)
    assert nothing.chosen == FLAT
    assert nothing.keeps(math.nan, math.nan)


@pytest.mark.parametrize("name", BENDS)
def test_one_without_bends_is_considered_before_the_one_with(name):
    order = list(CANDIDATES)
    assert order.index(BENDS[name]) < order.index(name)
    assert name in MARGINS
