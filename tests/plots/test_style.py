import io

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


def test_a_new_figure_has_its_size_in_pixels() -> None:
    assert style.new_figure(4, 3).bbox.size.tolist() == [4 * style.DPI, 3 * style.DPI]


def test_a_hidden_frame_keeps_its_labels() -> None:
    panel = Figure().subplots()
    panel.set_xticks([0, 1], ["a", "b"])
    style.hide_frame(panel)
    assert not any(spine.get_visible() for spine in panel.spines.values())
    assert [tick.tick1line.get_markersize() for tick in panel.xaxis.get_major_ticks()] == [0, 0]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["a", "b"]


def test_the_grid_lies_below() -> None:
    panel = Figure().subplots()
    style.draw_grid(panel, axis="x")
    assert panel.get_axisbelow()
    lines = [panel.xaxis.get_gridlines()[0], panel.yaxis.get_gridlines()[0]]
    assert [line.get_visible() for line in lines] == [True, False]


def test_an_empty_panel_says_so_in_its_middle() -> None:
    panel = Figure().subplots()
    style.say(panel, "none")
    (text,) = panel.texts
    assert (text.get_text(), text.get_position()) == ("none", (0.5, 0.5))
    assert text.get_transform() == panel.transAxes


def test_a_report_s_figures_are_sharp_at_twice_720_pixels() -> None:
    assert style.NARROW * style.NARROW_DPI == 2 * 720


def test_names_are_no_formulas() -> None:
    figure = Figure()
    text = figure.text(0, 0, style.literal(r"ds/$a_{$.npy of \$x"))
    figure.savefig(io.BytesIO(), format="svg")
    assert text.get_text() == r"ds/\$a_{\$.npy of \\$x"
