"""Posterior means and σ are where the data say, and what can't be drawn is counted."""

import math
import re

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Circle, StepPatch
from pictures import assert_legible, render

from jaxvae import plots

RNG = np.random.default_rng(0)


def cloud(count: int) -> np.ndarray:
    return RNG.normal(size=(count, 2))


def dots(figure: Figure) -> tuple[np.ndarray, np.ndarray]:
    """The scattered points and their colours, without alpha."""
    (points,) = [c for c in figure.axes[0].collections if not isinstance(c, EllipseCollection)]
    figure.draw_without_rendering()
    colours = np.broadcast_to(points.get_facecolor()[:, :3], (len(points.get_offsets()), 3))
    return np.asarray(points.get_offsets()), colours


def test_means_are_drawn_where_they_are() -> None:
    means = cloud(50)
    figure = plots.latent_map(means, latents=(3, 17))
    np.testing.assert_array_equal(dots(figure)[0], means)
    (panel,) = figure.axes
    assert panel.get_xlabel().startswith("mean of z3\n")
    assert panel.get_ylabel() == "mean of z17"
    assert panel.get_title(loc="left") == "Posterior means of 50 examples"
    assert not figure.legends
    assert_legible(figure)


def test_rings_hold_what_they_say() -> None:
    panel = plots.latent_map(cloud(3)).axes[0]
    radii = [patch.get_radius() for patch in panel.patches if isinstance(patch, Circle)]
    assert radii == [1, 2]
    assert panel.get_aspect() == 1
    sample = np.linalg.norm(np.random.default_rng(1).normal(size=(100_000, 2)), axis=1)
    said = re.search(r"rings hold (\d+)% and (\d+)% of the prior", panel.get_xlabel())
    for radius, share in zip(radii, said.groups(), strict=True):
        # Rounding, and four standard errors.
        assert 100 * np.mean(sample < radius) == pytest.approx(float(share), abs=0.5 + 400 * 0.5 / 100_000**0.5)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
def test_everything_is_in_view(scale: float) -> None:
    means = scale * cloud(100)
    panel = plots.latent_map(means).axes[0]
    for (low, high), column in zip((panel.get_xlim(), panel.get_ylim()), means.T, strict=True):
        assert low < min(column.min(), -2)
        assert high > max(column.max(), 2)


@pytest.mark.parametrize("classes", [1, 7, 10])
def test_each_class_has_a_colour(classes: int) -> None:
    labels = 3 * (np.arange(40) % classes)
    figure = plots.latent_map(cloud(40), labels)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [f"{3 * i}" for i in range(classes)]
    keys = {
        text.get_text(): to_rgba(line.get_color())[:3]
        for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)
    }
    assert len(set(keys.values())) == classes
    np.testing.assert_allclose(dots(figure)[1], [keys[f"{label}"] for label in labels])
    assert_legible(figure)


def test_many_classes_share_a_colour_map() -> None:
    labels = np.arange(40) % 11
    figure = plots.latent_map(cloud(40), labels)
    assert not figure.legends
    bar = figure.axes[1]
    assert bar.get_ylim() == (0, 10)
    colours = dots(figure)[1]
    np.testing.assert_array_equal(colours[:11], colours[11:22])
    assert len(np.unique(colours, axis=0)) == 11
    assert_legible(figure)


def test_lost_means_are_counted() -> None:
    means, labels = cloud(20), np.arange(20) % 2
    means[3, 0], means[4, 1], means[5] = math.nan, math.inf, -math.inf
    figure = plots.latent_map(means, labels, np.ones((20, 2)))
    points, colours = dots(figure)
    finite = np.isfinite(means).all(1)
    np.testing.assert_array_equal(points, means[finite])
    np.testing.assert_allclose(colours, np.array([to_rgba("#0072B2"), to_rgba("#D55E00")])[labels[finite], :3])
    assert figure.axes[0].get_xlabel().endswith("; not shown: 3 not finite")
    render(plots.latent_map(np.full((2, 2), math.nan), [0, 1]))
    render(plots.latent_map(np.zeros((0, 2))))


def test_ellipses_are_one_sigma_wide() -> None:
    means, std = cloud(30), RNG.uniform(0.1, 0.5, (30, 2))
    std[0, 0], std[1, 1], std[2, 0], std[3, 0] = 0, math.inf, math.nan, -1
    (ellipses,) = [c for c in plots.latent_map(means, std=std).axes[0].collections if isinstance(c, EllipseCollection)]
    np.testing.assert_array_equal(ellipses.get_offsets(), means[4:])
    np.testing.assert_allclose(ellipses.get_widths(), 2 * std[4:, 0])
    np.testing.assert_allclose(ellipses.get_heights(), 2 * std[4:, 1])


def test_ellipses_stay_few() -> None:
    figure = plots.latent_map(cloud(1001), std=np.ones((1001, 2)))
    (ellipses,) = [c for c in figure.axes[0].collections if isinstance(c, EllipseCollection)]
    assert 100 <= len(ellipses.get_offsets()) <= 200


def ridges(panel: Axes) -> list[tuple[np.ndarray, np.ndarray]]:
    """The bins' edges and heights, row by row."""
    steps = [patch.get_data() for patch in panel.patches if isinstance(patch, StepPatch)]
    return [(edges, row - values) for row, (values, edges, _) in enumerate(steps)]


def names(panel: Axes) -> list[str]:
    return [label.get_text() for label in panel.get_yticklabels()]


def test_ridges_are_histograms_by_falling_kl() -> None:
    centres = np.array([0.9, 0.02, 0.3])
    std = centres * np.exp(0.05 * RNG.normal(size=(400, 3)))
    figure = plots.std_histograms(std, [0.01, 3.2, 0.7])
    (panel,) = figure.axes
    assert names(panel) == ["z1  KL 3.2 nats", "z2  KL 0.7 nats", "z0  KL 0.01 nats"]
    assert panel.get_xscale() == "log"
    assert panel.yaxis_inverted()
    for (edges, heights), latent in zip(ridges(panel), (1, 2, 0), strict=True):
        counts = np.histogram(std[:, latent], edges)[0]
        assert counts.sum() == 400
        np.testing.assert_allclose(heights, 0.9 * counts / counts.max(), atol=1e-12)
        np.testing.assert_allclose(np.diff(np.log(edges)), np.log(edges[1] / edges[0]))
    assert [line.get_xdata() for line in panel.lines] == [[1, 1]]
    assert panel.get_xlim()[0] < 0.02
    assert panel.get_xlim()[1] > 1
    assert panel.get_xlabel() == "posterior σ; the prior's is 1"
    assert_legible(figure)


def test_the_caller_s_order() -> None:
    panel = plots.std_histograms(np.ones((5, 3)), [1, 2, 3], order=[1, 0, 2]).axes[0]
    assert [name.split()[0] for name in names(panel)] == ["z1", "z0", "z2"]


@pytest.mark.parametrize(("latents", "rows"), [(1, 1), (26, 26), (27, 26), (512, 26)])
def test_beyond_25_the_others_share_a_ridge(latents: int, rows: int) -> None:
    kl = np.linspace(0, 5, latents)
    std = np.exp(-kl) * np.exp(0.1 * RNG.normal(size=(40, latents)))
    figure = plots.std_histograms(std, kl)
    (panel,) = figure.axes
    shown = names(panel)
    assert len(shown) == len(ridges(panel)) == rows
    assert shown[0].split()[0] == f"z{latents - 1}"
    if latents > rows:
        others = latents - 25
        assert shown[-1] == f"{others} others  KL {kl[:others].sum():.2g} nats"
        edges, heights = ridges(panel)[-1]
        counts = np.histogram(std[:, :others], edges)[0]
        assert counts.sum() == 40 * others
        np.testing.assert_allclose(heights, 0.9 * counts / counts.max(), atol=1e-12)
    assert_legible(figure)


def test_lost_std_is_counted() -> None:
    std = np.ones((10, 3))
    std[0], std[1, :2], std[2, 0], std[3, 1] = math.nan, 0, math.inf, -2
    figure = plots.std_histograms(std, [math.nan, 1, 2])
    (panel,) = figure.axes
    assert panel.get_xlabel().endswith("not shown, of 30: 2 zero, 1 negative, 1 infinite, 3 NaN")
    assert names(panel)[-1] == "z0  KL nan nats"
    assert_legible(figure)
    render(plots.std_histograms(np.full((4, 2), math.nan), [1, 2]))
    widest = plots.std_histograms(np.array([[1e-45], [3e38]], np.float32), [1])
    assert ridges(widest.axes[0])[0][1].sum() > 1
    assert_legible(widest)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.latent_map(np.zeros((3, 3))), r"means.shape must be \(N, 2\), got \(3, 3\)"),
        (lambda: plots.latent_map(np.zeros((3, 2)), [0]), r"labels.shape must be \(3,\), as of means, got \(1,\)"),
        (lambda: plots.latent_map(np.zeros((1, 2)), ["a"]), "labels.dtype must be numbers, got '<U1'"),
        (lambda: plots.latent_map(np.zeros((3, 2)), std=np.ones(3)), r"std.shape must be \(3, 2\), as of means"),
        (lambda: plots.std_histograms(np.zeros(3), [0]), r"std.shape must be \(N, L\) without a zero, got \(3,\)"),
        (lambda: plots.std_histograms(np.zeros((0, 3)), [0]), r"std.shape must be .* got \(0, 3\)"),
        (lambda: plots.std_histograms(np.ones((4, 3)), [0]), r"kl.shape must be \(3,\), to go with std, got \(1,\)"),
        (lambda: plots.std_histograms(np.ones((4, 2)), [0, 1], [1]), r"order must hold .* 0 to 1 once, got \[1\]"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(call, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
