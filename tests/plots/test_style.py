import matplotlib
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from jaxvae.plots import style


def test_lighter_goes_to_white() -> None:
    assert style.lighter("#204060", 0) == to_rgb("#204060")
    assert style.lighter("#204060", 1) == (1, 1, 1)
    assert style.lighter("#000000", 0.4) == pytest.approx((0.4, 0.4, 0.4))


def test_quiet_ends_with_its_context() -> None:
    before = dict(matplotlib.rcParams)
    with style.quiet(17):
        panel = Figure().subplots()
        assert panel.xaxis.label.get_size() == 17
        assert not panel.spines["top"].get_visible()
        assert not panel.spines["right"].get_visible()
        assert panel.spines["left"].get_visible()
    assert dict(matplotlib.rcParams) == before


def test_roomy_keeps_off_the_edge() -> None:
    figure = Figure(layout="constrained", dpi=100)
    panel = figure.subplots()
    panel.set_title("title")
    style.roomy(figure)
    figure.draw_without_rendering()
    assert figure.bbox.y1 - panel.title.get_window_extent().y1 >= 9
