"""The curves are the records', whatever these lack."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pictures import assert_legible, render, texts

from jaxvae import plots

PANELS = {"elbo": 0, "log_likelihood": 1, "kl": 2, "active_units": 3, "gradient_norm": 4, "learning_rate": 5, "beta": 6}


def run(epochs: int, validated: int = 5) -> list[dict[str, float]]:
    records = []
    for epoch in range(1, epochs + 1):
        kl, log_likelihood = 25 * (1 - math.exp(-epoch / 8)), -75 - 25 / epoch**0.5
        record = {
            "epoch": epoch,
            "elbo": log_likelihood - kl,
            "log_likelihood": log_likelihood,
            "kl": kl,
            "beta": min(1, epoch / 10),
            "learning_rate": 1e-3 / epoch,
            "gradient_norm": 30 / epoch,
            "skipped": 0,
        }
        if epoch % validated == 0:
            record |= {"validation_elbo": log_likelihood - kl - 1, "validation_kl": kl + 0.1}
            record |= {"validation_log_likelihood": log_likelihood - 0.9, "validation_active_units": epoch // 2}
        records.append(record)
    return records


def panel_of(figure: Figure, key: str) -> Axes:
    return figure.axes[PANELS[key.removeprefix("validation_")]]


def drawn(figure: Figure, key: str) -> tuple[list[float], list[float]]:
    (line,) = [line for line in panel_of(figure, key).lines if line.get_label() == key]
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def notes(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    return [text.get_text() for text in texts(figure)]


def markers(axes: Axes) -> dict[str, list[float]]:
    """The marks at a panel's edges: what they are, and at which epochs."""
    return {
        str(line.get_label()): np.asarray(line.get_xdata()).tolist()
        for line in axes.lines
        if line.get_linestyle() == "None"
    }


@pytest.mark.parametrize("epochs", [1, 12, 200])
def test_lines_are_the_records(epochs: int) -> None:
    records = run(epochs, validated=1 if epochs == 1 else 5)
    figure = plots.curves(records)
    for key in {key for record in records for key in record} - {"epoch", "skipped"}:
        kept = [record for record in records if key in record]
        assert drawn(figure, key) == ([r["epoch"] for r in kept], [r[key] for r in kept])
    assert len(figure.axes) == 7
    for axes in figure.axes:
        low, high = axes.get_xlim()
        assert low < 1 <= epochs < high
        assert (axes.get_xlim(), axes.get_yscale()) == ((low, high), "log" if axes is figure.axes[4] else "linear")
    assert legend(figure) == ["training", "validation"]
    assert "no finite values" not in notes(figure)
    assert_legible(figure)


def test_training_and_validation_have_their_colours() -> None:
    figure = plots.curves(run(20))
    named = {line.get_label(): line.get_color() for line in figure.legends[0].get_lines()}
    for axes in figure.axes:
        for line in axes.lines:
            key = str(line.get_label())
            assert line.get_color() == named["validation" if key.startswith("validation_") else "training"]


def test_a_single_epoch_can_be_seen() -> None:
    bare, one = (render(plots.curves([{"epoch": 1, **more}])) for more in ({}, run(1, 1)[0]))
    assert one.shape == (800, 1600, 3)
    blue = (abs(one.astype(int) - (0, 114, 178)).sum(-1) < 30).sum()
    assert blue - (abs(bare.astype(int) - (0, 114, 178)).sum(-1) < 30).sum() > 6 * 10


def test_lost_values_leave_gaps_and_lonely_points_are_marked() -> None:
    records = run(50)
    for epoch, value in ((10, math.nan), (11, None), (13, math.inf), (20, -math.inf)):
        records[epoch - 1]["elbo"] = value
    figure = plots.curves(records)
    _, elbo = drawn(figure, "elbo")
    assert [epoch for epoch, x in enumerate(elbo, 1) if math.isnan(x)] == [10, 11, 13, 20]
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == "elbo"]
    assert np.flatnonzero(line.get_markevery()).tolist() == [11]  # epoch 12
    assert_legible(figure)


@pytest.mark.parametrize("records", [[{"epoch": 3}], [{"epoch": 3, "elbo": math.nan, "kl": None}]])
def test_what_is_not_there_is_said(records: Sequence[dict]) -> None:
    figure = plots.curves(records)
    assert notes(figure).count("no finite values") == 7
    assert_legible(figure)


def test_zero_gradients_and_skipped_steps_are_marked() -> None:
    records = run(9)
    for epoch, so_far in ((1, 2), (2, 2), (3, 2), (4, 2), (5, 3), (6, 3), (7, 1203), (8, 1203), (9, 1203)):
        records[epoch - 1]["skipped"] = so_far
    records[3]["gradient_norm"] = records[5]["gradient_norm"] = 0.0
    figure = plots.curves(records)
    expected = {"gradient norm exactly 0": [4, 6], "steps skipped, 1,203 in all": [1, 5, 7]}
    assert markers(figure.axes[4]) == expected
    assert legend(figure) == ["training", "validation", *expected]
    low, high = figure.axes[4].get_ylim()
    assert 0 < low < 30 / 9
    assert 30 < high < 100
    assert_legible(figure)


def test_gradients_that_are_all_zero() -> None:
    figure = plots.curves([{"epoch": e, "gradient_norm": 0.0} for e in (1, 2)])
    assert markers(figure.axes[4]) == {"gradient norm exactly 0": [1, 2]}
    render(figure)


def test_a_bad_start_does_not_flatten_the_rest() -> None:
    records = run(100)
    records[0] |= {"elbo": -5000.0, "log_likelihood": -4990.0}
    figure = plots.curves(records)
    for axes, lowest in zip(figure.axes[:2], ("5,000", "4,990"), strict=True):
        assert -150 < axes.get_ylim()[0] < -80
        assert [text.get_text() for text in axes.texts] == [f"cut off: lowest −{lowest}"]
    assert max(drawn(figure, "elbo")[1]) < figure.axes[0].get_ylim()[1]
    assert_legible(figure)


def test_epochs_are_in_order_and_once() -> None:
    records = [{"epoch": e, "elbo": x} for e, x in ((1, -9.0), (3, -7.0), (2, -8.0), (2, -8.5))]
    assert drawn(plots.curves(records), "elbo") == ([1, 2, 3], [-9.0, -8.5, -7.0])


def test_none_is_refused() -> None:
    with pytest.raises(ValueError, match="records must be at least one, got 0"):
        plots.curves([])
    with pytest.raises(ValueError, match=r"records' keys must be with an epoch, got \['elbo'\]"):
        plots.curves([{"elbo": 1.0}])
