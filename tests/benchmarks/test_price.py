"""The price of exactness by what the compiler counts: expensive operations, temporary arrays, operations."""

import json
import sys

import pytest
from representatives import each

import jaxvae as jv
from benchmarks import price
from benchmarks.by_hand import BY_HAND
from benchmarks.peers import ours

COUNTED = ("log_variance", "softplus_std", "squareplus_std", "dreamer_std")
"""Those whose counts are held to the formula by hand; of the others none may need more than twice its temporaries."""


def counts(name: str, program: str) -> list[dict[str, float]]:
    forms = BY_HAND[name], ours(jv.PARAMETERIZATIONS[name])
    return [price.compiled(price.programs(form, price.SHAPE, "float32")[program])[1] for form in forms]


@pytest.mark.parametrize("program", [price.SAMPLE, price.BETWEEN])
@pytest.mark.parametrize("name", each(COUNTED, kept=COUNTED[1:2]))
def test_no_more_expensive_operations_than_by_hand(name, program):
    hand, here = counts(name, program)
    # A floor's tail takes an exp and a quotient; log squareplus, exact about its root, a quotient.
    more = {"dreamer_std": 2, "squareplus_std": 1}.get(name, 0)
    assert 0 < here["expensive"] <= hand["expensive"] + more
    assert 0 < here["temporaries"] <= 2 * hand["temporaries"]
    assert hand["operations"] < here["operations"] < 9 * hand["operations"]


def test_what_is_counted():
    text = """
  %x = f32[4]{0} parameter(0)
  %constant.1 = f32[] constant(1)
  %e = f32[4]{0} exponential(%x)
  ROOT %d = f32[4]{0} divide(%e, %x), metadata={}
"""
    assert price.operations(text) == {"parameter": 1, "constant": 1, "exponential": 1, "divide": 1}


@pytest.mark.slow
def test_the_command_names_what_misses(tmp_path, monkeypatch, capsys):
    out = tmp_path / "price.json"
    monkeypatch.setattr(price, "BARS", {"operations": 0.0})
    monkeypatch.setattr(sys, "argv", ["price", "log_std", "--quick", "--dtypes", "float32", "--out", str(out)])
    price.main()
    rows = json.loads(out.read_text())["rows"]
    assert [row["program"] for row in rows] == [price.SAMPLE, price.BETWEEN]
    assert out.with_suffix(".png").stat().st_size > 5_000
    assert "missed: log_std, float32, [64, 32], sample + KL" in capsys.readouterr().out
