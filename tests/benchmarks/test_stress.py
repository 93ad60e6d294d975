"""A small stress map; what it calls a failure, where it says that arose, and whether it could have been avoided."""

import functools
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick import key

import jaxvae as jv
from benchmarks import peers, stress, trial
from benchmarks.peers import Form
from benchmarks.trial import BATCH, GAUSSIAN, HIDDEN, LATENTS, PIXELS, STAGES, Head, Outcome

RESULT = Path(__file__).parents[2] / "benchmarks/results/stress.json"
NNX = "form of flax NNX"


@pytest.fixture
def rows(monkeypatch, tmp_path, capsys) -> dict[str, dict]:
    monkeypatch.setattr(stress, "RATES", (1e-2, 1.0))
    monkeypatch.setattr(stress, "STDS", (1.0,))
    monkeypatch.setattr(stress, "DTYPES", ("float32",))
    out = tmp_path / "stress.json"
    flags = ["--seeds", "2", "--steps", "40", "--forms", "log_std", NNX, "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["stress", *flags])
    stress.main()
    assert "50 (50)" in capsys.readouterr().out
    assert out.with_suffix(".png").stat().st_size > 10_000
    return {row["form"]: row for row in json.loads(out.read_text())["rows"]}


@pytest.mark.slow
def test_the_library_survives_where_a_peer_does_not(rows):
    assert rows["log_std"]["failed"] == [[0, 0]]
    assert rows["log_std"]["witnesses"] == []
    # σ² underflows, and log σ² with it, though log σ was there all along.
    assert rows[NNX]["failed"] == rows[NNX]["gaussian"] == rows[NNX]["avoidable"] == [[0, 2]]
    witness = rows[NNX]["witnesses"][0]
    assert {"-inf", "nan"} & {*witness["draw"]} or "inf" in witness["kl"]
    assert float(witness["raw"][0]) < -40


@pytest.mark.slow
def test_the_bar_catches_a_naive_kl(monkeypatch):
    def naive(q):
        return 0.5 * (q.std**2 + q.mean**2 - 1 - jnp.log(q.std**2))

    monkeypatch.setattr(jv, "kl_divergence", naive)
    monkeypatch.setattr(stress, "RATES", (1.0,))
    monkeypatch.setattr(stress, "STDS", (1e-4,))
    row = {"form": "log_std", **stress.cells(peers.ours(jv.log_std), "float32", 2, 40)}
    assert row["failed"] == row["avoidable"] == [[2]]
    assert stress.missed_bar(row)
    assert not stress.missed_bar({**row, "form": NNX})


def parameters(raw: float = 0.0, leave: float = 0.1, logits: float = 0.1) -> dict:
    layers = {"enter": (PIXELS, HIDDEN, 0.1), "loc": (HIDDEN, LATENTS, 0.1)}
    layers |= {"leave": (LATENTS, HIDDEN, leave), "logits": (HIDDEN, PIXELS, logits)}
    drawn = {name: (jnp.full((m, n), weight), jnp.zeros(n)) for name, (m, n, weight) in layers.items()}
    return trial.initial(jv.log_std, jnp.float32(raw), drawn)


def classic(loc, raw, noise):
    return loc + jnp.exp(raw) * noise.astype(loc.dtype), (loc**2 + jnp.exp(2 * raw) - 1) / 2 - raw


def stage_of(apply, params, dtype="float32") -> tuple[int, float]:
    step = jax.jit(functools.partial(trial.forwards_and_back, Form(apply, jv.log_std, "here"), dtype))
    _, loss, _, stage = step(params, jnp.zeros((BATCH, PIXELS)), key(1))
    return int(stage), float(loss)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("apply", "params", "stage"),
    [
        (classic, {}, 6),
        (lambda loc, raw, noise: (loc * jnp.nan, raw), {}, 1),
        (lambda loc, raw, noise: (loc, raw + jnp.inf), {}, 1),
        (lambda loc, raw, noise: (loc + 1, raw), {"logits": 3e38}, 2),  # 16 of which overflow
        (lambda loc, raw, noise: (loc + jnp.sqrt(0 * raw), raw), {}, 4),  # 0/0 on the way back
        (classic, {"leave": 0.01, "logits": 2.5e38}, 3),  # 64 of which / 32 overflow
    ],
    ids=["sound", "z", "kl", "log_prob", "head back", "decoder back"],
)
def test_a_bad_number_is_found_where_it_arises(apply, params, stage):
    found, loss = stage_of(apply, parameters(**params))
    assert found == stage
    assert np.isfinite(loss) == (stage > 3)


@pytest.mark.slow
def test_the_network_is_not_taken_for_the_gaussian():
    assert stage_of(classic, parameters(1e6), "float16")[0] == 0  # raw itself is beyond float16
    assert stage_of(classic, parameters(1e4), "float16")[0] == 1
    assert [cause == GAUSSIAN for cause in STAGES] == [False, True, False, False, True, False]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["softplus_std", "natural_exp"])
def test_truth_is_what_the_library_computes(name):
    p = jv.parameterization(name)
    head = Head(*np.random.default_rng(0).normal(size=(len(Head._fields), 1, BATCH, LATENTS)))

    def through(loc, raw):
        q = jv.Gaussian(loc, raw, p)
        return jv.reparameterize(q, head.noise), jv.kl_divergence(q)

    @jax.jit
    def library(loc, raw):
        (z, kl), back = jax.vjp(through, loc, raw)
        dloc, draw = back((jnp.asarray(head.dz), jnp.full_like(kl, 1 / BATCH)))
        return {"z": z, "kl": kl, "dloc": dloc, "draw": draw}

    with jax.enable_x64(True):
        wanted = trial.truth(p, head)
        for name, found in library(head.loc, head.raw).items():
            np.testing.assert_allclose(found, sum(wanted[name]), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("raw", "dtype", "field", "stage", "avoidable"),
    [
        (-60.0, "float32", "kl", 1, True),  # KL is 59.5
        (60.0, "float32", "kl", 1, False),  # and e^120 / 2
        (11.5, "float16", "z", 1, False),  # σ = 99,000 is beyond float16
        (11.5, "float16", "kl", 1, True),  # KL = 5e9 is not beyond float32, in which ours is
        (11.5, "bfloat16", "z", 1, True),
        (7.0, "float16", "draw", 4, True),  # σ² / 32 = 38,000
        (8.0, "float16", "draw", 4, False),  # and 278,000
        (7.0, "float16", "draw", 5, False),  # arose elsewhere
    ],
)
def test_what_cannot_be_represented_cannot_be_avoided(raw, dtype, field, stage, avoidable):
    assert judged(raw, dtype, field, stage, np.inf) == avoidable


def test_nan_is_right_only_where_two_infinities_meet():
    assert judged(11.5, "float16", "z", 1, np.nan)
    assert judged(8.0, "float16", "draw", 4, np.nan, dz=0.0)
    assert not judged(8.0, "float16", "draw", 4, np.nan, dz=-100.0)


def judged(raw, dtype, field, stage, got, dz=0.0) -> bool:
    ones = np.ones((1, BATCH, LATENTS), np.float32)
    head = Head(loc=0 * ones, raw=raw * ones, noise=ones, dz=dz * ones, z=ones, kl=ones, dloc=ones, draw=ones)
    outcome = Outcome(np.array([True]), np.array([3]), np.array([stage]), head._replace(**{field: got * ones}))
    return trial.avoidable(stress.OURS["log_std"], dtype, outcome).item()


@pytest.mark.parametrize("name", peers.PEERS)
def test_peers_forms_mean_what_they_say(name):
    """Where nothing is extreme, a form is the library's, with the same noise."""
    form = peers.PEERS[name]
    loc, raw = jnp.array([0.5, -1.0, 2.0]), jnp.array([-1.0, 0.3, 1.0])
    ours = peers.ours(form.parameterization)
    noise = jax.random.normal(key(3), loc.shape)
    results = jax.jit(lambda: (form.apply(loc, raw, noise), ours.apply(loc, raw, noise)))()
    for found, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_expressed_is_left_out():
    assert stress.start(stress.OURS["sigmoid_std"], 1e4, "float32") is None  # σ < 1
    assert stress.start(stress.OURS["softplus_precision"], 1e-4, "float32") == pytest.approx(1e8)
    assert stress.start(stress.OURS["softplus_precision"], 1e-4, "float16") is None  # 1e8 is beyond float16
    assert stress.start(stress.OURS["natural_exp"], 1e-4, "float16") is None  # so are weights of means in units of 1/σ²
    assert stress.start(peers.PEERS["form of scvi-tools"], 1e-4, "float32") is None  # its variance is at least 1e-4


def test_the_map_is_complete_and_the_bar_held():
    saved = json.loads(RESULT.read_text())
    rows = {(row["form"], row["dtype"]): row for row in saved["rows"]}
    assert set(rows) == {(form, dtype) for form in stress.FORMS for dtype in stress.DTYPES}
    assert saved["seeds"] >= 20
    assert not [key for key, row in rows.items() if stress.missed_bar(row)]
    table = stress.compare(saved["rows"], saved["seeds"])
    assert table.strip() in (RESULT.parents[1] / "RESULTS.md").read_text()
    lines = table.split("\n")
    (line,) = (line for line in lines if NNX in line)
    assert line.startswith(f"| {NNX} | `log_std` | 24.2 (24.2) → 0.0 (0.0) |")
    assert lines[-1].count("(0.0)") == len(stress.DTYPES)
