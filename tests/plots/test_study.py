"""What is drawn is what was given, marked where it can't be drawn, and legible with little and with much."""

import math

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from pictures import assert_legible, texts, to_the_pixel

from jaxvae import plots
from jaxvae.plots.style import COLOURS

RATES = np.array([1e-3, 1e-2, 1e-1])
NONE = np.full(3, math.nan)
BASELINE = plots.Line("log_variance", RATES, np.array([24.0, 23.0, 25.0]), np.array([0.1, 0.1, 0.2]))


def line(name: str, *y: float) -> plots.Line:
    return plots.Line(name, RATES, np.array(y), NONE)


def keys(panel: Axes) -> list[str]:
    legend = panel.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def marks(panel: Axes, marker: str) -> list[tuple[float, str]]:
    """Learning rate and colour of the marks above the range."""
    found = [x for x in panel.lines if x.get_marker() == marker]
    return [(float(np.asarray(x.get_xdata())[0]), to_hex(x.get_color()).upper()) for x in found]


def assert_keys_legible(figure: Figure) -> None:
    """The panels' keys, too, lie within the figure and clear of all other texts."""
    assert_legible(figure)
    others = [text.get_window_extent().padded(-1.5) for text in texts(figure)]
    for panel in figure.axes:
        legend = panel.get_legend()
        if legend is not None:
            box = legend.get_window_extent().padded(-1.5)
            assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
            assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
            assert not any(box.overlaps(other) for other in others)


def test_lines_and_bands_are_the_means_and_errors() -> None:
    figure = plots.nll_by_learning_rate({"exponential": [line("log_std", 24.1, 23.1, 25.1)]}, BASELINE)
    (panel,) = figure.axes
    grey, blue = panel.lines[:2]
    assert np.asarray(grey.get_ydata()).tolist() == BASELINE.y.tolist()
    assert np.asarray(blue.get_ydata()).tolist() == [24.1, 23.1, 25.1]
    assert to_hex(blue.get_color()).upper() == COLOURS[0]
    (band,) = panel.collections  # of the baseline; the other has no error
    upper, lower = band.get_datalim(panel.transData).max[1], band.get_datalim(panel.transData).min[1]
    assert (upper, lower) == pytest.approx((25.2, 22.9))
    assert panel.get_xscale() == "log"
    assert keys(panel) == ["log_variance", "log_std"]
    assert_keys_legible(figure)


def test_failures_and_what_is_far_above_are_marked_and_dont_set_the_scale() -> None:
    members = [
        line("softplus_std", 24, 23, math.inf),
        line("direct_std", 24, 500, math.nan),
        line("square", 900, 901, 902),
    ]
    figure = plots.nll_by_learning_rate({"some": [*members, line("lost", *NONE)]}, BASELINE)
    (panel,) = figure.axes
    assert 25 < panel.get_ylim()[1] < 40
    lost = [(rate, COLOURS[3]) for rate in RATES.tolist()]
    assert sorted(marks(panel, "x")) == sorted([(0.1, COLOURS[0]), (0.1, COLOURS[1]), *lost])
    assert sorted(marks(panel, "^")) == sorted([(0.01, COLOURS[1]), *((r, COLOURS[2]) for r in RATES.tolist())])
    assert keys(panel)[3:] == ["square (off the scale)", "lost (failed)"]
    assert_keys_legible(figure)


def test_of_two_learning_rates_neither_is_above_the_range() -> None:
    def two(name: str, *y: float) -> plots.Line:
        return plots.Line(name, np.array([3e-3, 3e-2]), np.array(y), np.full(2, math.nan))

    members = [two("log_std", 23.91, 23.28), two("direct_std", 23.92, math.inf), two("projected_std", 23.92, 26.55)]
    (panel,) = plots.nll_by_learning_rate({"": members}, two("log_variance", 23.91, 23.29)).axes
    assert marks(panel, "^") == [(3e-2, COLOURS[2])]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["0.003", "0.03"]


@to_the_pixel
@pytest.mark.parametrize(("count", "named"), [(1, True), (5, True), (6, False)])
def test_learning_rates_are_named_while_there_is_room(count: int, named: bool) -> None:
    rates = 1e-3 * np.sqrt(10.0) ** np.arange(count)
    lines = [plots.Line(name, rates, np.full(count, 23.0), np.full(count, math.nan)) for name in "abc"]
    figure = plots.nll_by_learning_rate({"one": lines[1:2], "other": lines[2:]}, lines[0])
    texts = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert (texts == [f"{rate:g}" for rate in rates]) is named
    assert_keys_legible(figure)


def test_panels_share_the_range_and_a_variant_keeps_its_colour() -> None:
    panels = {"a": [line("a1", 24, 23.5, 24)], "b": [line("b1", 26, 25, 27), line("b2", 24, 24, 24)]}
    nll, elbo = plots.nll_by_learning_rate(panels, BASELINE), plots.elbo_by_step(panels, BASELINE)
    for figure in (nll, elbo):
        assert len({panel.get_ylim() for panel in figure.axes}) == 1
        for panel, members in zip(figure.axes, panels.values(), strict=True):
            colours = {str(x.get_label()): to_hex(x.get_color()).upper() for x in panel.lines}
            assert [colours[member.name] for member in members] == list(COLOURS[: len(members)])
        assert_keys_legible(figure)


def test_learning_curves_show_where_they_end() -> None:
    steps = np.arange(1, 101.0)
    good, bad = (-30 - 200 * np.exp(-steps / 10) - low for low in (0, 5000))
    baseline, other = (plots.Line(name, steps, y, np.full(100, math.nan)) for name, y in (("good", good), ("bad", bad)))
    figure = plots.elbo_by_step({"": [other]}, baseline)
    low, high = figure.axes[0].get_ylim()
    assert -60 < low < -30 < high < -20
    assert keys(figure.axes[0]) == ["good", "bad (off the scale)"]
    assert_keys_legible(figure)


@pytest.mark.parametrize("draw", [plots.nll_by_learning_rate, plots.elbo_by_step])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_lines_where_all_failed(draw, count: int) -> None:
    nothing = np.zeros(0)
    figure = draw({"": [line(f"v{i}", *NONE) for i in range(count)]}, plots.Line("base", nothing, nothing, nothing))
    assert [text.get_text() for text in figure.axes[0].texts] == ["no finite values"]
    assert_keys_legible(figure)


@pytest.mark.parametrize("draw", [plots.nll_by_learning_rate, plots.elbo_by_step])
def test_one_point_is_drawn(draw) -> None:
    x, y = np.array([1e-2]), np.array([23.0])
    assert_keys_legible(draw({"": []}, plots.Line("base", x, y, np.array([math.nan]))))


@pytest.mark.slow
def test_thirty_variants_are_legible() -> None:
    names = iter(f"a_rather_long_name_of_{i}" for i in range(36))
    panels = {f"family {p}": [line(next(names), 24 + p, 23 + p / 9, 24) for _ in range(6)] for p in range(6)}
    assert_keys_legible(plots.nll_by_learning_rate(panels, BASELINE))
    flat = [x.name for members in panels.values() for x in members]
    three = np.array([1.0, 3.0, 40.0])
    assert_legible(plots.gradient_ranges([plots.Norms(name, three, three) for name in flat], flat[0]))
    edges = np.linspace(-6, 2, 65)
    assert_legible(plots.std_comparison([plots.Histogram(name, np.ones(64)) for name in flat], edges, flat[0]))


def test_more_lines_than_colours_are_refused() -> None:
    with pytest.raises(ValueError, match=r"panels\['x'\] must be at most 7 lines, got 8"):
        plots.nll_by_learning_rate({"x": [BASELINE] * 8}, BASELINE)
    for draw in (plots.nll_by_learning_rate, plots.elbo_by_step):
        with pytest.raises(ValueError, match="panels must be at least one, got 0"):
            draw({}, BASELINE)


def test_gradient_ranges_go_from_median_to_maximum() -> None:
    infinite = np.array([2.0, 8.0, math.inf])
    variants = [
        plots.Norms("log_variance", np.array([1.0, 5.0, 20.0]), infinite),
        plots.Norms("direct_std", NONE, NONE),
        plots.Norms("zero", np.zeros(3), np.full(3, math.inf)),
    ]
    figure = plots.gradient_ranges(variants, "log_variance")
    head, network = figure.axes
    spans = [np.asarray(x.get_xdata()).tolist() for x in head.lines if np.asarray(x.get_ydata()).tolist() == [0, 0]]
    assert spans == [[1, 20], [1, 5]]
    assert [text.get_text() for text in head.texts] == ["failed"]
    arrows = [x for x in network.lines if x.get_marker() == ">"]
    assert [np.asarray(x.get_ydata()).tolist() for x in arrows] == [[0], [2]]
    assert network.get_xlim() == head.get_xlim()
    assert_legible(figure)


@pytest.mark.parametrize("norm", [math.nan, math.inf, 0.0])
def test_gradients_of_which_none_can_be_drawn(norm: float) -> None:
    assert_legible(plots.gradient_ranges([plots.Norms("direct_std", *np.full((2, 3), norm))], "direct_std"))


def test_histograms_are_shares_by_their_root() -> None:
    edges = np.linspace(-6, 2, 65)
    counts = np.zeros((3, 64))
    counts[0, 40:44] = 1, 3, 3, 1
    counts[1, 40] = 4
    variants = [plots.Histogram(name, x) for name, x in zip(("log_variance", "log_std", "lost"), counts, strict=True)]
    figure = plots.std_comparison(variants, edges, "log_variance")
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["log_variance", "log_std", "lost"]
    own, other, lost = ([patch.get_data().values for patch in panel.patches] for panel in figure.axes)
    np.testing.assert_allclose(own[0] ** 2, counts[0] / 8)
    np.testing.assert_allclose(other[0] ** 2, counts[1] / 4)
    np.testing.assert_allclose(other[1] ** 2, counts[0] / 8)  # the baseline's outline
    assert [text.get_text() for text in figure.axes[2].texts] == ["none"]
    assert not lost[0].any()
    for panel in figure.axes:
        low, high = panel.get_xlim()
        assert low < -1 < 0.5 < high
    assert_legible(figure)


def test_histograms_need_a_count_per_bin() -> None:
    with pytest.raises(ValueError, match="log_std must be a count per bin, got 3"):
        plots.std_comparison([plots.Histogram("log_std", np.ones(3))], np.arange(3.0), "log_std")
