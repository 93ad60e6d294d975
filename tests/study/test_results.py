import json

import pytest
import synthetic

from jaxvae.study.results import merge, plain, read_results, settings, variant, write_results
from jaxvae.training import TrainConfig


def record(nll=1.0, **fields):
    whole = synthetic.record("log_variance", 0, 1e-3, 0, False, {})
    curve = {"step": [1, 2], "elbo": [nll, 2.0]}
    return {**whole, "config": plain(TrainConfig(**fields)), "nll": nll, "curve": curve}


def test_a_table_is_read_as_it_was_written(tmp_path):
    records = [record(seed=0), record(seed=1, hidden=(3, 4))]
    write_results(tmp_path / "table", records)
    assert read_results(tmp_path / "table") == records
    assert read_results(tmp_path / "none") == []


def test_what_is_not_finite_is_null(tmp_path):
    write_results(tmp_path / "table", [record(float("nan")), record(float("-inf"), seed=1)])
    assert [r["nll"] for r in read_results(tmp_path / "table")] == [None, None]
    assert read_results(tmp_path / "table")[0]["curve"]["elbo"] == [None, 2.0]
    assert "NaN" not in (tmp_path / "table").read_text()


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    path = tmp_path / "table"
    write_results(path, [record(seed=0), record(seed=1)])
    path.write_text(path.read_text()[:-5])
    assert [r["config"]["seed"] for r in read_results(path)] == [0]


def test_a_record_of_an_older_version_has_defaults_for_newer_fields(tmp_path):
    old = record()
    del old["config"]["optimizer"]
    (tmp_path / "table").write_text(json.dumps(old) + "\n")
    assert read_results(tmp_path / "table") == [record()]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("nonsense", "Expecting value"),
        ("[1]", "list indices"),
        ('{"nll": 1}', "config"),
        ('{"config": {"sede": 1}}', "nearest: seed"),
        ('{"config": {"latents": 0}}', "latents must be at least 1"),
        ('{"config": {"latents": 3}}', "one with elbo"),
        (json.dumps({**record(), "nll": "many"}), "nll must be a number or null"),
        (json.dumps({**record(), "curve": [1]}), "curve must be an object with step, elbo"),
    ],
)
def test_a_line_that_is_no_record_is_refused(tmp_path, line, what):
    write_results(tmp_path / "table", [record()])
    with (tmp_path / "table").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=f"table, line 2, must be a record of a study, got .*{what}"):
        read_results(tmp_path / "table")


def test_merging_keeps_the_first_of_each_cell():
    merged = merge([[record(1.0), record(2.0, seed=1)], [record(3.0, seed=1), record(4.0, seed=2)]])
    assert [(r["config"]["seed"], r["nll"]) for r in merged] == [(0, 1.0), (1, 2.0), (2, 4.0)]


def test_variant_and_setting():
    table = [
        record(parameterization="direct_std", constraint="lagrange", dtype="bfloat16", learning_rate=0.1),
        record(parameterization="log_std", latents=3, seed=4),
    ]
    assert [variant(r) for r in table] == ["direct_std + lagrange", "log_std"]
    assert settings(table) == [{"latents": 16, "dtype": "bfloat16"}, {"latents": 3, "dtype": "float32"}]
    assert settings([]) == []
