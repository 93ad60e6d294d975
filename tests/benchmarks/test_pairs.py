"""Random pairs of Gaussians: drawn of all kinds; a promise that is broken is counted and shown."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick import key

import jaxvae as jv
from benchmarks import pairs


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_pairs_are_ordinary_extreme_near_and_anything(dtype):
    drawn = np.stack([np.asarray(x, np.float32) for x in pairs.draw(key(0), 4000, dtype, False)])
    ordinary, extreme, near, anything = np.split(drawn, 4, axis=1)
    assert np.abs(ordinary).max() <= 4
    assert np.abs(extreme[1::2]).max() > 190
    close = np.abs(near[0::2] - near[0::2][:1]) <= 5 * float(jnp.finfo(dtype).eps) * np.abs(near[:1])
    assert close.all()
    assert 0.01 < np.mean((near[:2] == near[2:]).all(axis=0)) < 0.5
    assert np.isnan(anything).any()


def test_a_broken_promise_is_counted_and_shown(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(pairs, "CHUNK", 2**10)
    monkeypatch.setattr(jv, "kl_divergence", lambda q, p: (q.raw - p.raw) / jnp.where(q.loc < 0, 1, q.raw))
    monkeypatch.setattr(jax, "clear_caches", lambda: None)
    out = tmp_path / "pairs.json"
    flags = ["--pairs", "2e3", "--names", "log_std", "--dtypes", "float32", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["pairs", *flags])
    with pytest.raises(SystemExit, match="times a pair broke a promise"):
        pairs.main()
    found = json.loads(out.read_text())
    (row,) = found["rows"]
    assert row["pairs"] == 2048
    assert row["negative"] > 100
    assert row["witnesses"][0]["check"] == "negative"
    assert "negative" in capsys.readouterr().out
    assert found["failures"] == sum(row[check] for check in pairs.CHECKS)
