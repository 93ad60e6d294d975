"""Each field of a map has its text and its colour, and what isn't there looks it."""

import math

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from pictures import assert_legible

from jaxvae import plots

CAUSES = {"N": "in the network", "σ": "in σ"}


def fields_of(panel: Axes) -> dict[tuple[int, int], Rectangle]:
    """By row and column."""
    boxes = [patch for patch in panel.patches if isinstance(patch, Rectangle)]
    return {(round(b.get_y() + b.get_height() / 2), round(b.get_x() + b.get_width() / 2)): b for b in boxes}


def said(panel: Axes) -> dict[tuple[int, int], str]:
    return {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in panel.texts}


def test_transform_map_places_texts_and_colours() -> None:
    fields = {
        ("exp", "std"): plots.Field("−1.00", -1.0, True),
        ("exp", "variance"): plots.Field("baseline", 0.0),
        ("softplus", "std"): plots.Field("+1.00", 1.0),
        ("identity", "std"): plots.Field("failed", math.nan, failed=True),
    }
    figure = plots.transform_map(["exp", "softplus", "identity"], ["std", "variance"], fields)
    (panel,) = figure.axes
    assert said(panel) == {(0, 0): "−1.00", (0, 1): "baseline", (1, 0): "+1.00", (2, 0): "failed"}
    boxes = fields_of(panel)
    better, same, worse = (to_rgb(boxes[place].get_facecolor()) for place in ((0, 0), (0, 1), (1, 0)))
    assert better[2] > better[0] + 0.3  # blue
    assert worse[0] > worse[2] + 0.3  # orange
    assert min(same) > 0.99
    assert [place for place, box in boxes.items() if box.get_hatch()] == [(2, 0)]
    assert {to_rgb(boxes[place].get_facecolor()) for place in ((1, 1), (2, 1))} == {to_rgb("#F4F4F4")}
    assert [text.get_weight() for text in panel.texts].count("bold") == 1
    assert_legible(figure)


def test_a_disaster_does_not_set_the_scale_and_noise_has_no_colour() -> None:
    fields = {(str(i), "std"): plots.Field("", x) for i, x in enumerate((0.02, 0.4, 0.5, 0.6, 1000.0))}
    boxes = fields_of(plots.transform_map(list("01234"), ["std"], fields).axes[0])
    blues = [to_rgb(boxes[row, 0].get_facecolor())[2] for row in range(5)]
    assert blues[0] > 0.98
    assert blues[2] < 0.9
    assert sorted(blues, reverse=True) == blues


def test_thirty_rows_of_transforms_are_legible() -> None:
    rows = [f"a_rather_long_name_{i}" for i in range(30)]
    fields = {(row, "std"): plots.Field("+10.5\n[−10.0, +31.0]", 10.5, True) for row in rows}
    assert_legible(plots.transform_map(rows, ["std", "variance", "precision", "natural", "other"], fields))
    with pytest.raises(ValueError, match="fields must be at least one, got 0"):
        plots.transform_map([], [], {})


def test_skipped_map_gives_percent_and_cause() -> None:
    shares = np.array([[0.0, 1.0], [math.nan, 0.004]])
    failed = np.array([[False, True], [False, False]])
    skipped = plots.Skipped([0.01, 0.1], shares, [["", "σ"], ["", "N"]], failed)
    figure = plots.skipped_map(["log_std", "direct_std"], {"": skipped}, CAUSES, "log_std")
    (panel,) = figure.axes
    assert said(panel) == {(0, 0): "0", (0, 1): "100 σ", (1, 1): "0.4 N"}
    framed = [place for place, box in fields_of(panel).items() if box.get_edgecolor()[3] > 0]
    assert framed == [(0, 1)]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["N  in the network", "σ  in σ", "a run failed"]
    assert_legible(figure)


@pytest.mark.parametrize(("settings", "rates", "rows"), [(1, 1, 1), (2, 5, 13), (1, 5, 30), (3, 9, 2)])
def test_skipped_maps_are_legible(settings: int, rates: int, rows: int) -> None:
    shares = np.full((rows, rates), 0.123)
    skipped = plots.Skipped([10.0 ** -(i + 1) for i in range(rates)], shares, [["∇"] * rates] * rows, shares > 1)
    names = [f"direct_variance_{i} + lagrange" for i in range(rows)]
    titles = [f"precondition = none, dtype = float{i}" for i in range(settings)]
    figure = plots.skipped_map(names, dict.fromkeys(titles, skipped), {"∇": "in the gradient"}, names[0])
    assert len(figure.axes) == settings
    assert_legible(figure)


def test_none_is_refused() -> None:
    with pytest.raises(ValueError, match="names, settings must be at least one each"):
        plots.skipped_map([], {}, {}, "")
