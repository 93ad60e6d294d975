"""The map of failures: a cell's colour is its share, its hatch the cause; read back from what is drawn."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from pictures import assert_legible

from benchmarks import failures
from benchmarks.failures import Failures, failure_map

ROWS, GROUPS, COLUMNS = ("log_variance", "softplus_std", "form of flax"), ("σ₀ 1", "σ₀ 10000"), ("0.001", "0.1", "1")


def example() -> Failures:
    failed, gaussian, avoidable = np.zeros((3, 3, 2, 3))
    failed[0, 1] = np.nan
    failed[1, 0, 2] = 0.5
    failed[2] = 1
    gaussian[2, :, 1:] = 1
    avoidable[2, :, 2] = 0.05
    return Failures(failed, gaussian, avoidable)


def drawn():
    return failure_map(ROWS, GROUPS, COLUMNS, {"float32": example(), "float16": example()}, 2)


def test_cells_say_what_happened():
    figure = drawn()
    panels = [panel for panel in figure.axes if panel.patches]
    assert [panel.get_title("left") for panel in panels] == ["float32", "float16"]
    colours = failures._colours()
    for panel in panels:
        cells = np.array(panel.patches, object).reshape(3, 2, 3)
        assert {to_hex(cell.get_facecolor()) for cell in cells[0, 1]} == {failures._NOTHING.lower()}
        assert to_hex(cells[0, 0, 0].get_facecolor()) == to_hex(colours(0.0))
        assert to_hex(cells[1, 0, 2].get_facecolor()) == to_hex(colours(0.5))
        assert {to_hex(cell.get_facecolor()) for cell in cells[2].flat} == {to_hex(colours(1.0))}
        plain, unavoidable, avoidable = (cell.get_hatch() for cell in cells[2, 0])
        assert (plain, unavoidable, avoidable) == (None, failures._HATCHES["gaussian"], failures._HATCHES["avoidable"])
        assert cells[1, 0, 2].get_hatch() is None
        # The blocks stand apart.
        y = [cell.get_y() for cell in cells[:, 0, 0]]
        assert y[2] - y[1] > y[1] - y[0]


def test_it_is_legible():
    figure = drawn()
    assert_legible(figure)
    labels = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert labels == [*COLUMNS, *COLUMNS]


@pytest.mark.parametrize("rows", [(), ROWS[:2]])
def test_shapes_are_checked(rows):
    with pytest.raises(ValueError, match=r"rows, groups, columns, panels|panels\['float32'\].failed.shape"):
        failure_map(rows, GROUPS, COLUMNS, {"float32": example()}, 1)
