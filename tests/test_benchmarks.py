"""A small run of every benchmark, so that none rots, and a check of the pages they write."""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from representatives import each

from benchmarks import certify, ranges
from jaxvae import special
from jaxvae.study.report.answers import verdict
from jaxvae.study.results import read_results
from jaxvae.study.statistics import analyze

ROOT = Path(__file__).parents[1]
SAMPLED = ("log_ndtr", "inverse_mills", "stirling_error", *certify.SECTIONS)
"""Functions of which no complete certificate has been made yet: theirs are the samples below, and test_special's."""
WRITTEN_ANEW = (
    *("log1p", "sigmoid", "tanh", "log_sech2", "softplus", "log_sigmoid", "log_softplus", "log1mexp"),
    *("softplus_inverse", "squareplus", "log_squareplus", "ndtr", "log_mills"),
)
"""Since the certificate of the GPU."""


@pytest.mark.parametrize("name", each(("expm1mx", *SAMPLED), kept=("expm1mx",)))
def test_certify_passes_on_a_sample(name):
    for order in certify.ORDERS:
        for dtype, stride in (("float32", 40_009), ("bfloat16", 1), ("float16", 1)):
            row = certify.certify(name, order, dtype, stride)
            assert row["passed"], row
            beyond = name.endswith("k = 1e+09") and (order, dtype) == ("value", "float16")  # log Γ(1e9) is 2e10
            assert (row["worst_ulp"] > 0) != beyond
            assert row["inputs"] > 2**15


@pytest.mark.slow
def test_certify_sees_a_wrong_digit(monkeypatch):
    # Direct e^t - 1 - t: off by most of its digits near 0.
    monkeypatch.setattr(special, "expm1mx", lambda t: jnp.exp(t) - 1 - t)
    jax.clear_caches()  # traces made with the right function
    row = certify.certify("expm1mx", "value", "bfloat16", 1)
    jax.clear_caches()
    assert not row["passed"]
    assert row["worst_ulp"] > 100


@pytest.mark.slow
def test_certify_writes_its_table(monkeypatch, tmp_path, capsys):
    out = tmp_path / "certify.json"
    monkeypatch.setattr(sys, "argv", ["certify", "--functions", "exp", "--stride", "1000003", "--out", str(out)])
    certify.main()
    assert {row["function"] for row in json.loads(out.read_text())["rows"]} == {"exp"}
    assert "| exp | derivative |" in capsys.readouterr().out


@pytest.mark.parametrize(("device", "sampled"), [("cpu", SAMPLED), ("nvidia-h100-80gb-hbm3", SAMPLED + WRITTEN_ANEW)])
def test_the_certificate_is_complete_and_passed(device, sampled):
    rows = json.loads((ROOT / f"benchmarks/results/certify-{device}.json").read_text())["rows"]
    assert {row["function"] for row in rows} == set(certify.FUNCTIONS) - set(sampled)
    assert len(rows) == (len(certify.FUNCTIONS) - len(sampled)) * len(certify.ORDERS) * 3
    assert all(row["passed"] for row in rows)
    assert all(row["inputs"] == 2 ** (32 if row["dtype"] == "float32" else 16) for row in rows)
    assert certify.table(rows) in (ROOT / "benchmarks/RESULTS.md").read_text()


@pytest.mark.slow
def test_the_range_page_is_up_to_date():
    assert ranges.page() == (ROOT / "docs/ranges.md").read_text()


def test_the_study_on_mnist_is_complete_and_says_what_is_told_of_it():
    records = read_results(ROOT / "benchmarks/results/compare-mnist/results.jsonl")
    assert len(records) == 6 * 3 * 3
    (outcome,) = analyze(records)
    (answer,) = verdict([outcome])
    report = (ROOT / "benchmarks/results/compare-mnist/report.md").read_text().replace("*", "")
    assert all(f"- {line}\n" in report for line in answer.lines)
    assert " ".join(answer.details) in report.replace("\\", "")
    signs = {c.variant: c.adjusted.sign for c in outcome.comparisons if c.adjusted}
    assert {name for name, sign in signs.items() if sign == 1} == {"sigmoid_std", "natural_softplus"}
    assert -1 not in signs.values()
    results = (ROOT / "benchmarks/RESULTS.md").read_text()
    for comparison in outcome.comparisons:
        cells = " | ".join(f"{p.mean:.2f} ± {p.standard_error:.2f}" for p in comparison.points)
        assert f"| {comparison.variant} | {cells} |" in results
