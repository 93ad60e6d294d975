"""The figures hold the library's numbers; that they are also good to look at is for eyes."""

import math
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from programs import compiled
from representatives import each

import jaxvae as jv
from jaxvae import plots

SIX = ("log_variance", "log_std", "softplus_std", "nvae_log_std", "diffusers_log_variance", "direct_std")


@pytest.fixture(scope="module")
def few() -> Figure:
    return plots.explain({name: jv.parameterization(name) for name in SIX})


@pytest.fixture(scope="module")
def everything() -> Figure:
    return plots.explain(jv.PARAMETERIZATIONS)


@pytest.fixture(scope="module")
def longest() -> Figure:
    """As many as one set of panels takes, with the longest formulas."""
    return plots.explain(sorted(jv.PARAMETERIZATIONS.values(), key=lambda p: -len(p.formula))[:7])


def test_a_parameterization_takes_two_programs_one_in_float64():
    two = [jv.Parameterization("std", jv.Sigmoid(0.0, high)) for high in (3.5, 4.5)]  # of no other test
    with compiled() as names:
        plots.explain(two)
    assert names == ["jit(_shape)"] * 4


def curves(panel: Axes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    lines = {str(line.get_label()): line for line in panel.get_lines()}
    return {
        name: (np.asarray(line.get_xdata()), np.asarray(line.get_ydata()))
        for name, line in lines.items()
        if not name.startswith("_")
    }


def spans(panel: Axes, name: str, height: float) -> list[tuple[float, float]]:
    """The raw intervals of a parameterization's bars of one height, in data units."""
    row = [label.get_text() for label in panel.get_yticklabels()].index(name)
    boxes = [path.get_extents() for bars in panel.collections for path in bars.get_paths()]
    return [
        (box.x0, box.x1) for box in boxes if abs((box.y0 + box.y1) / 2 - row) < 0.5 and math.isclose(box.height, height)
    ]


def right(panel: Axes, name: str) -> list[tuple[float, float]]:
    return spans(panel, name, 0.4)


def pixels(figure: Figure, path: Path) -> np.ndarray:
    figure.savefig(path)
    return matplotlib.image.imread(path)


@pytest.mark.parametrize("name", each(SIX, kept=("log_variance", "softplus_std")))
def test_curves_are_the_library_s(few: Figure, name: str) -> None:
    p = jv.parameterization(name)
    std, gain, slope, _ = few.axes
    raw, drawn = curves(std)[name]
    assert (raw[0], raw[-1]) == (-10, 10)
    exists = np.isfinite(p.log_std(raw))
    assert exists.sum() >= 200
    kl = jax.vmap(jax.grad(lambda r: jv.kl_divergence(jv.Gaussian(jnp.zeros_like(r), r, p))))
    for shown, expected in ((drawn, p.std(raw)), (curves(gain)[name][1], p.log_std_gain(raw))):
        np.testing.assert_allclose(shown, np.where(exists, expected, np.nan), rtol=1e-6)  # op by op, rounded elsewhere
    np.testing.assert_allclose(curves(slope)[name][1], np.where(exists, kl(jnp.asarray(raw)), np.nan), rtol=1e-5)


def test_nothing_is_drawn_where_sigma_does_not_exist(few: Figure) -> None:
    for panel in few.axes[:3]:
        raw, values = curves(panel)["direct_std"]
        assert np.isnan(values[raw <= 0]).all()
        assert np.isfinite(values[raw > 0]).all()


def test_float32_bars(few: Figure) -> None:
    # KL's σ²/2 overflows float32 at σ² = 2^129, r = 129 ln 2 = 89.4 of a log-variance; the slope of a log-std is σ².
    panel = few.axes[3]
    (low, high), *rest = right(panel, "log_variance")
    assert not rest
    assert low == -200
    assert high == pytest.approx(129 * math.log(2), abs=0.11)
    assert right(panel, "log_std")[0][1] == pytest.approx(64 * math.log(2), abs=0.11)
    assert right(panel, "direct_std")[0][0] == pytest.approx(0, abs=0.15)
    # Alive between its clips, and dead but right on either side of them.
    inside, *outside = right(panel, "diffusers_log_variance")
    assert inside == pytest.approx((-30, 20), abs=0.15)
    assert outside == [pytest.approx((-200, -30), abs=0.15), pytest.approx((20, 200), abs=0.15)]


@pytest.mark.parametrize(("name", "scale"), [("log_std", 1), ("log_variance", 2)])
def test_low_precision_bars(few: Figure, name: str, scale: int) -> None:
    bfloat16, float16 = spans(few.axes[3], name, 0.16)
    for span, dtype in ((bfloat16, jnp.bfloat16), (float16, jnp.float16)):
        limits = jnp.finfo(dtype)
        expected = (scale * math.log(float(limits.tiny)), scale * math.log(float(limits.max)))
        assert span == pytest.approx(expected, abs=0.11)


@pytest.mark.slow
def test_all_are_drawn_once_in_families(everything: Figure) -> None:
    assert len(everything.axes) % 4 == 0
    for column in range(4):
        panels = everything.axes[column::4]
        names = [
            name
            for panel in panels
            for name in (curves(panel) if column < 3 else [label.get_text() for label in panel.get_yticklabels()])
        ]
        assert sorted(names) == sorted(jv.PARAMETERIZATIONS)
        if column < 3:
            assert len({panel.get_ylim() for panel in panels}) == 1
    for panel in everything.axes[::4]:
        colours = [line.get_color() for line in panel.get_lines()]
        assert len(set(colours)) == len(colours)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["few", "everything"])
def test_pixels(which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    figure = request.getfixturevalue(which)
    image = pixels(figure, tmp_path / "figure.png")
    assert image.shape[1] == 1600
    assert image.shape[0] >= 1000
    inked = (image[..., :3] < 0.95).any(axis=-1)
    assert 0.02 < inked.mean() < 0.5
    for panel in figure.axes:
        box = panel.get_window_extent()
        rows, columns = slice(int(1000 - box.y1), int(1000 - box.y0)), slice(int(box.x0), int(box.x1))
        assert box.width > 150
        assert box.height > 80
        assert inked[rows, columns].mean() > 0.01


@pytest.mark.parametrize("which", each(("few", "longest", "everything"), kept=("few",)))
def test_texts_do_not_overlap(which: str, request: pytest.FixtureRequest) -> None:
    figure = request.getfixturevalue(which)
    figure.draw_without_rendering()
    panels = figure.axes
    texts = [
        text for panel in panels for text in (panel.title, panel._left_title, panel.yaxis.label, panel.xaxis.label)
    ]
    texts += [label for panel in panels[3::4] for label in panel.get_yticklabels()]
    texts += [text for legend in figure.legends for text in (*legend.get_texts(), legend.get_title())]
    boxes = [text.get_window_extent() for text in texts if text.get_text() and text.get_visible()]
    for i, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
        # A line of text is taller than its letters: neighbours may share a pixel or two.
        assert not any(box.padded(-1.5).overlaps(other.padded(-1.5)) for other in boxes[:i])


def test_a_sequence_goes_by_name_or_formula() -> None:
    panel = plots.explain([jv.softplus_std, jv.Parameterization("variance", jv.Softplus(beta=2.0))]).axes[0]
    assert list(curves(panel)) == ["softplus_std", "σ² = softplus(2·r)/2"]


def test_one_that_is_nowhere_defined_leaves_its_panels_empty(tmp_path: Path) -> None:
    class Nowhere(jv.Identity):
        def forward(self, raw: jax.Array) -> jax.Array:
            return raw * jnp.nan

    figure = plots.explain([jv.Parameterization("std", Nowhere(), "nowhere")])
    assert np.isnan(curves(figure.axes[0])["nowhere"][1]).all()
    assert not right(figure.axes[3], "nowhere")
    pixels(figure, tmp_path / "figure.png")


@pytest.mark.parametrize("nothing", [{}, ()])
def test_none_is_refused(nothing: dict | tuple) -> None:
    with pytest.raises(ValueError, match="parameterizations must hold at least one"):
        plots.explain(nothing)


def test_settings_are_left_alone() -> None:
    before = dict(matplotlib.rcParams)
    plots.explain([jv.log_std])
    assert dict(matplotlib.rcParams) == before
    assert not jax.config.jax_enable_x64


def test_no_pyplot() -> None:
    code = "import sys, jaxvae.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
