"""A short run ends as it began; and a leak, a compilation or a slow-down would be seen."""

import json
import sys

import jax
import jax.numpy as jnp
import pytest

from benchmarks import endurance


@pytest.mark.slow
def test_a_run_ends_as_it_began(tmp_path, monkeypatch):
    out = tmp_path / "endurance.json"
    monkeypatch.setattr(sys, "argv", ["endurance", "--steps", "20000", "--samples", "20", "--out", str(out)])
    monkeypatch.setattr(endurance, "SLOWER", 1)  # a few seconds, and others use the machine
    endurance.main()
    saved = json.loads(out.read_text())
    assert len(saved["rows"]) == 10
    assert saved["rows"][-1]["step"] == 95 * saved["epochs"] == 20900
    assert saved["rows"][0]["compiled"] > 0 == saved["compiled"]
    assert saved["checkpoints"] in (2, 3)  # the last two, and the best


def steady(**drift: float) -> list[endurance.Sample]:
    """Forty and one samples, in which fields grow by so much from each to the next."""
    start = {"resident": 4e8, "compiled": 9, "descriptors": 20, "threads": 30, "arrays": 100}
    grown = [{name: int(x + i * drift.get(name, 0)) for name, x in start.items()} for i in range(41)]
    times = [i * (1 + i * drift.get("slower", 0)) for i in range(41)]
    return [endurance.Sample(1000 * i, 3 * t, t, **held) for i, (t, held) in enumerate(zip(times, grown, strict=True))]


@pytest.mark.parametrize(
    ("drift", "bars"),
    [
        ({}, []),
        ({"resident": 5e5}, []),  # 4 % in nine tenths
        ({"resident": 1e6}, ["growth"]),
        ({"compiled": 0.1}, ["compiled"]),
        ({"descriptors": 0.1}, ["descriptors"]),
        ({"threads": 0.1, "arrays": 1}, ["threads", "arrays"]),
        ({"slower": 0.01}, ["slower"]),
        ({"slower": 1e-4}, []),
    ],
    ids=str,
)
def test_drift_is_seen(drift, bars):
    found = endurance.summary(endurance.rows(steady(**drift)))
    assert [text.split(":")[0] for text in endurance.missed(found)] == bars


def test_what_comes_before_the_second_tenth_is_not_judged():
    samples = steady()
    samples[0] = samples[0]._replace(compiled=0, resident=10**8)
    assert endurance.missed(endurance.summary(endurance.rows(samples))) == []


def test_a_compilation_is_counted():
    watcher = endurance.Watcher(every=2)
    with watcher.watch(0):
        for epoch in range(1, 7):
            watcher.epoch({"epoch": epoch, "step": 10 * epoch})
            if epoch == 3:
                jax.jit(lambda x: x + jnp.float32(epoch))(jnp.zeros(3))  # noqa: B023
    assert [sample.step for sample in watcher.samples] == [0, 20, 40, 60]
    _, before, after, last = (sample.compiled for sample in watcher.samples)
    assert before < after == last
    jax.jit(lambda x: x - 1)(jnp.zeros(3))
    watcher.epoch({"epoch": 8, "step": 80})
    assert watcher.samples[-1].compiled == last  # no longer watched
