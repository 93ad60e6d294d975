"""A small run of the digits: what it measures, whom it blames, and that its bar can be missed."""

import functools
import json
import sys

import jax.numpy as jnp
import mpmath
import numpy as np
import oracles
import pytest
from mpmath import mpf

import jaxvae as jv
from benchmarks import accuracy, oracle
from benchmarks.libraries import Library
from benchmarks.peers import PEERS

NAMES = tuple(oracle.LOG_STD)


def form_of(name: str) -> Library:
    form = PEERS[name]
    return Library(name, form.parameterization, lambda loc, raw: form.apply(loc, raw, jnp.zeros_like(raw))[1])


DISTRAX = form_of("form of distrax")
FORMS = ("form of flax", "form of flax NNX", "form of diffusers")


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A coarse grid, and a function that runs the command."""
    monkeypatch.setattr(oracle, "DISTANCES", np.logspace(-4, -1, 4))
    monkeypatch.setattr(oracle, "ORDINARY", np.linspace(-8, 8, 9))
    monkeypatch.setattr(oracle, "EXTREME", np.array([50, 70, 100, 180]))
    monkeypatch.setattr(accuracy, "PEERS", {name: PEERS[name] for name in FORMS})
    monkeypatch.setattr(accuracy, "jax_libraries", lambda: ({DISTRAX.name: DISTRAX}, {"numpyro": "isn't here"}))
    monkeypatch.setattr(accuracy, "torch_libraries", lambda: ({}, {"torch": "isn't here"}))
    out = tmp_path / "accuracy.json"

    def run(*dtypes: str) -> dict[tuple[str, str, str], dict]:
        monkeypatch.setattr(accuracy.measure, "__defaults__", (dtypes, ("kl", "log_prob")))
        monkeypatch.setattr(sys, "argv", ["accuracy", "--out", str(out)])
        accuracy.main()
        report = json.loads(out.read_text())
        assert report["missing"] == {"numpyro": "isn't here", "torch": "isn't here"}
        assert out.with_suffix(".png").stat().st_size > 10_000
        return {(row["quantity"], row["peer"], row["dtype"]): row for row in report["rows"]}

    return run


@pytest.mark.slow
def test_ours_wins_where_peers_are_known_to_break(small, capsys):
    rows = small("float32", "float16")
    assert not any(row["missed"] for row in rows.values())
    assert set(rows) == {
        *(("kl", name, dtype) for name in (*FORMS, DISTRAX.name) for dtype in ("float32", "float16")),
        *(("log_prob", "form of diffusers", dtype) for dtype in ("float32", "float16")),
    }
    flax = rows["kl", "form of flax", "float32"]
    assert flax["theirs"]["value"][0] > 0.5  # 1 + L - e^L at 1e-4
    assert flax["ours"]["value"][0] < 1e-6
    assert flax["first_bad"] == {"theirs": [None, None], "ours": [None, None]}  # beyond 89, KL itself is
    assert rows["kl", DISTRAX.name, "float32"]["first_bad"] == {"theirs": [-100, None], "ours": [None, None]}
    assert rows["kl", "form of flax NNX", "float32"]["first_bad"]["theirs"] == [-50, None]
    assert rows["kl", "form of flax NNX", "float32"]["theirs"]["raw"][2] is None
    half = rows["kl", "form of flax", "float16"]
    assert half["ours"]["value"][0] < 1e-6 < 1e-2 < half["theirs"]["value"][0]
    assert half["ours"]["raw"][0] < 2**-11 * 1.01  # which is half an ulp of float16
    table = capsys.readouterr().out
    assert "NaN/inf → " in table
    assert "→ NaN/inf" not in table


@pytest.mark.slow
@pytest.mark.parametrize("naive", ["by its terms", "NaN where theirs is"])
def test_a_naive_kl_misses_the_bar(small, monkeypatch, naive):
    exact = jv.kl_divergence

    def by_terms(q):
        return (q.variance + jnp.square(q.mean) - 1) / 2 - q.log_std

    def breaking(q):
        return jnp.where(q.raw < -90, jnp.nan, exact(q))

    monkeypatch.setattr(jv, "kl_divergence", by_terms if naive == "by its terms" else breaking)
    with pytest.raises(SystemExit, match=r"the bar was missed in \d+ cells: kl, float32") as missed:
        small("float32")
    beside = [cell for cell in str(missed.value).split("; ") if DISTRAX.name in cell]
    region = "value, near collapse" if naive == "by its terms" else "value, extreme: inf"
    assert any(region in cell for cell in beside), beside


@pytest.mark.parametrize("name", NAMES)
def test_the_truth_is_that_of_the_other_oracle(name):
    for loc, raw in ((0.3, -1.7), (-2.0, 0.01), (0.0, 3.0)):
        value, by_loc, by_raw = (sum(terms) for terms in oracle.kl(oracle.LOG_STD[name], mpf(loc), mpf(raw)))
        wanted = (oracles.kl_standard(name, loc, raw), *oracles.kl_standard_gradient(name, loc, raw))
        for found, want in zip((value, by_loc, by_raw), wanted, strict=True):
            assert abs(found - want) <= mpf("1e-18") * abs(want)


@pytest.mark.parametrize("quantity", oracle.QUANTITIES)
def test_derivatives_are_those_of_the_value(quantity):
    x = [mpf(text) for text in ("0.3", "-1.2", "0.9", "0.4")][
        : {"kl_between": 4, "kl": 2, "entropy": 2}.get(quantity, 3)
    ]
    for name in NAMES:
        truth = functools.partial(oracle.TRUTH[quantity], oracle.LOG_STD[name])
        value, *slopes = truth(*x)
        assert len(slopes) == len(oracle.QUANTITIES[quantity][1])
        for i, terms in enumerate(slopes):
            along = mpmath.diff(lambda t, i=i, truth=truth: sum(truth(*x[:i], t, *x[i + 1 :])[0]), x[i])
            assert abs(sum(terms) - along) < mpf("1e-25")
        # Euler's sum, for the value: how much it answers to relative changes.
        moved = [sum(s) * t for s, t in zip(slopes, x, strict=False)]
        if len(x) != 3:  # else it answers to x, too
            want = float(sum(map(abs, moved)) / sum(map(abs, value)))
            assert oracle.response(quantity, name, tuple(map(float, x)))[0] == pytest.approx(want, rel=1e-12)


def test_whom_an_error_is_held_against():
    def error(got: float, dtype: str, true: float, scale: float | None = None) -> float:
        scale = abs(true) if scale is None else scale
        points = oracle.Points((), *(np.zeros(1),) * 2, *(np.array([[x]]) for x in (true, 0.0, scale)))
        return float(accuracy.errors(np.array([got]).astype(jnp.dtype(dtype)), 0, points)[0])

    assert error(1.5, "float32", 1.0) == 0.5
    assert error(1e-3, "float32", 0.0, 2.0) == pytest.approx(5e-4)  # the terms cancel
    assert error(1e-3, "float32", 0.0) == 0  # no term at all
    assert error(0.0, "float32", 1e-39) == 0  # subnormal
    assert error(0.0, "float16", 5e-8) == 0
    assert error(0.0, "float16", 1e-6) == pytest.approx(0.94, abs=1e-2)
    assert error(np.nan, "float32", 0.0) == np.inf
    assert error(np.inf, "float32", 1e38) == np.inf
    assert np.isnan(error(np.inf, "float32", 4e38))
    assert np.isnan(error(np.nan, "float16", 1e5))


def test_inputs_are_stored_before_anything_is_computed():
    points = oracle.points("kl", jv.softplus_std, "bfloat16")
    loc, raw = (x.astype(float) for x in points.inputs)
    assert points.inputs[0].dtype == jnp.bfloat16
    for i in (0, 40, 200):
        want = oracles.kl_standard("softplus_std", loc[i], raw[i])
        assert abs(mpf(points.high[i, 0]) + mpf(points.low[i, 0]) - want) < mpf("1e-30") * want
    between = oracle.points("kl_between", jv.log_std, "bfloat16")
    near = between.region == "near collapse"
    assert np.all(between.inputs[1][near] != between.inputs[3][near])
    assert {*between.region} == {*oracle.REGIONS}
