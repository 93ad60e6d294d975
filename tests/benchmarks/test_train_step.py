"""A small run of the training side by side, and what it makes of what it measures."""

import json
import math
import sys

import numpy as np
import pytest

from benchmarks import train_step
from benchmarks.contestants import MODELS, contestant
from benchmarks.train_step import Row

MODEL = MODELS["flax-example"]


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (64, 28, 28), np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["jaxvae, fused", "jaxvae, step by hand", "JAX by hand", "JAX by hand, our Gaussian", "PyTorch"]
)
def test_contestants_start_alike_and_learn(images, name):
    if name == "PyTorch":
        pytest.importorskip("torch")
    _, advance = contestant(name)(images, MODEL, 64)
    # At first every logit is about 0: log 2 nats a pixel.
    first = advance(1)["loss"]
    assert first == pytest.approx(784 * math.log(2), rel=0.1)
    assert advance(5)["loss"] < first


@pytest.mark.slow
def test_the_convolutional_models_are_the_same(images):
    pytest.importorskip("torch")
    import jax

    from benchmarks.contestants.ours import make_experiment
    from benchmarks.contestants.pytorch import VAE

    experiment = make_experiment(images, MODELS["conv"], 64)
    ours = sum(x.size for x in jax.tree.leaves(jax.eval_shape(experiment.init, jax.random.key(0))))
    assert sum(x.numel() for x in VAE(MODELS["conv"]).parameters()) == ours
    _, advance = contestant("PyTorch")(images[:16], MODELS["conv"], 16)
    assert advance(1)["loss"] == pytest.approx(784 * math.log(2), rel=0.1)


def test_flops_are_those_of_the_layers():
    layers = ((784, 500), (500, 20), (500, 20), (20, 500), (500, 784))
    # Forward, and back to weights and, but for the first, to inputs.
    assert train_step.flops("flax-example", 128) == 2 * 128 * (3 * sum(m * n for m, n in layers) - 784 * 500)
    maps = {14: ((4, 32), (32, 32), (32, 32), (32, 32), (32, 32), (32, 4)), 7: ((128, 64), *((64, 64),) * 4, (64, 128))}
    convs = sum(size**2 * 9 * m * n for size, layers in maps.items() for m, n in layers)
    dense = 3136 * 256 + 2 * 256 * 32 + 32 * 256 + 256 * 3136
    first = 14**2 * 9 * 4 * 32
    assert train_step.flops("conv", 100) == 2 * 100 * (3 * (convs + dense) - first)


@pytest.mark.slow
def test_train_step_writes_its_table(images, monkeypatch, tmp_path, capsys):
    np.savez(tmp_path / "data.npz", labels=np.zeros(64), images=np.tile(images, (4, 1, 1)))
    out = tmp_path / "train_step.json"
    arguments = ["--quick", "--models", "flax-example", "--data", str(tmp_path / "data.npz"), "--out", str(out)]
    arguments += ["--contestants", "JAX by hand", "matmul in XLA"]
    monkeypatch.setattr(sys, "argv", ["train_step", *arguments])
    train_step.main()
    report = json.loads(out.read_text())
    row, matmul = report["rows"]
    assert row["note"] == matmul["note"] == ""
    assert row["to_plain_jax"] == 1
    assert "to_pytorch" not in row
    assert row["share_of_peak"] == pytest.approx(row["gflops"] / max(matmul["gflops"].values()), rel=1e-3)
    assert row["examples_per_second"] == pytest.approx(128e3 / row["ms_per_step"], rel=1e-3)
    assert report["images"] == 256
    assert "JAX by hand" in capsys.readouterr().out
    assert out.with_suffix(".png").stat().st_size > 10_000


def test_ratios_are_to_the_fastest_on_the_same_device():
    speeds = {"jaxvae, fused": 60.0, "JAX by hand": 40.0, "PyTorch": 20.0, "PyTorch, compiled": 30.0}
    rows = [
        {"name": name, "model": "conv", "device": device, "examples_per_second": factor * speed, "gflops": speed}
        for name, speed in speeds.items()
        for device, factor in (("cpu", 1), ("gpu", 9))
    ]
    train_step.compare(rows)
    assert [row["to_pytorch"] for row in rows[::2]] == [2.0, 1.333, 0.667, 1.0]
    assert rows[1]["to_plain_jax"] == 1.5
    assert "share_of_peak" not in rows[0]


@pytest.mark.slow
def test_what_cannot_run_is_left_out_with_its_reason(images, tmp_path):
    np.save(tmp_path / "images.npy", images)
    row = Row("no such one", "flax-example", 16, 1)
    (contestant,) = train_step.measure([row], tmp_path / "images.npy", 1, tmp_path)
    (entry,) = train_step.results([contestant])
    contestant.close()
    assert "no such one" in entry["note"]
    assert "examples_per_second" not in entry
