"""The benchmark of negative binomial masses: its truth, and that it tells a good formula from a bad one."""

import json

import oracles
import pytest
from mpmath import mpf

from benchmarks import harness, negative_binomial
from jaxvae.likelihoods.masses import log_negative_binomial


@pytest.mark.parametrize("inputs", [("0.3", "-1.2", 4), ("-2.0", "14.0", 3), ("6.9", "16.1", 900)])
def test_the_truth_is_that_of_the_other_oracle(inputs):
    x = [mpf(i) for i in inputs]
    wanted = (
        oracles.log_negative_binomial(*x),
        oracles.log_negative_binomial_by_log_mean(*x),
        oracles.log_negative_binomial_by_log_theta(*x),
    )
    for found, want in zip(negative_binomial.truth(*x), wanted, strict=True):
        assert abs(found - want) < mpf("1e-35") * abs(want)


def test_the_formula_of_the_field_is_told_from_an_exact_one(monkeypatch):
    monkeypatch.setattr(negative_binomial, "MEANS", (-2, 3))
    sides = {"form": negative_binomial.scvi, "ours": log_negative_binomial}
    form, ours = negative_binomial.measure(sides, "float32", {"ordinary": (0,), "far": (7,)})
    for output in ("log P(k)", "∂ log θ"):
        assert form["beyond"][output]["far"] > 0.1
        assert form["worst"][output]["far"] > 0.5
    for output in negative_binomial.OUTPUTS:
        assert set(ours["beyond"][output].values()) == {0}
        assert max(ours["worst"][output].values()) < 1e-6
    (table,) = negative_binomial.tables({"rows": [form, ours]})
    assert [row[0] for row in table.rows] == ["form, float32", "ours, float32"]
    assert len(table.heads) == len(table.rows[0]) == 7


def test_the_published_table_is_that_of_the_file():
    page = (harness.RESULTS.parent / "RESULTS.md").read_text()
    (table,) = negative_binomial.tables(json.loads((harness.RESULTS / "negative_binomial.json").read_text()))
    assert harness.markdown(table) in page
