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
        ("[1]", "record must be an object"),
        ('{"nll": 1}', "config"),
        ('{"config": {"sede": 1}}', "nearest: seed"),
        ('{"config": {"latents": 0}}', "latents must be at least 1"),
        ('{"config": {"latents": 3}}', "one with elbo"),
        (json.dumps({**record(), "nll": "many"}), "nll must be a number or null"),
        (json.dumps({**record(), "curve": [1]}), "curve must be an object with step, elbo"),
        (json.dumps({**record(), "curve": {"step": [1, 2], "elbo": [0.5]}}), "curve must be of as many steps"),
        (json.dumps({**record(), "kl": True}), "kl must be a number or null"),
        (json.dumps({**record(), "cause": 3}), "cause must be a text or null"),
        (json.dumps({**record(), "std_histogram": [1, "2"]}), "std_histogram must be a list of numbers"),
        (json.dumps({**record(), "gradient_norm": {"head": [1], "network": 2}}), "gradient_norm.network must be"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_a_line_that_is_no_record_is_refused(tmp_path, line, what):
    write_results(tmp_path / "table", [record()])
    with (tmp_path / "table").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=f"table, line 2, must be a record of a study, got .*{what}"):
        read_results(tmp_path / "table")


def test_a_flipped_bit_is_no_other_value(tmp_path):
    path = tmp_path / "table"
    write_results(path, [record()])
    content = path.read_bytes()
    accepted = 0
    for place in range(0, len(content) - 1, 7):
        for bit in (0, 4):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
            try:
                found = read_results(path)
            except ValueError as error:
                assert str(path) in str(error)  # noqa: PT017
            else:  # a space, the name of the digest, or a line that is cut in two
                accepted += 1
                assert [r["nll"] for r in found] in ([1.0], [])
    assert accepted < 20


def test_a_line_that_is_not_utf8_is_refused_with_its_files_name(tmp_path):
    (tmp_path / "table").write_bytes(b"\xff\xfe{}\n")
    with pytest.raises(ValueError, match=r"table, line 1, must be a record of a study, got "):
        read_results(tmp_path / "table")


def test_merging_keeps_the_first_of_each_cell(caplog):
    near = 1.0 + record()["nll_standard_error"]
    merged = merge([[record(1.0), record(1.0, seed=1)], [record(near, seed=1), record(4.0, seed=2)]])
    assert [(r["config"]["seed"], r["nll"]) for r in merged] == [(0, 1.0), (1, 1.0), (2, 4.0)]
    assert "1 cells are in several tables with other last digits" in caplog.text


def test_tables_that_contradict_each_other_are_not_merged():
    with pytest.raises(ValueError, match=r"NLL must be about the same in all tables, got '1\.0 and 100\.0 for log"):
        merge([[record(1.0)], [record(100.0)]])
    with pytest.raises(ValueError, match="NLL must be about the same in all tables"):
        merge([[record(1.0)], [record(None)]])
    data = [{**record(), "data": {"test": digest}} for digest in "ab"]
    with pytest.raises(ValueError, match="data must be the same in all tables"):
        merge([[one] for one in data])


def test_variant_and_setting():
    table = [
        record(parameterization="direct_std", constraint="lagrange", dtype="bfloat16", learning_rate=0.1),
        record(parameterization="log_std", latents=3, seed=4),
    ]
    assert [variant(r) for r in table] == ["direct_std + lagrange", "log_std"]
    assert settings(table) == [{"latents": 16, "dtype": "bfloat16"}, {"latents": 3, "dtype": "float32"}]
    assert settings([]) == []


def test_what_follows_from_the_data_is_no_setting():
    fields = ("dataset", "likelihood", "binarization", "validation", "dtype")
    digits, mnist = ("digits", "bernoulli", "dynamic", None), ("mnist", "bernoulli", "dynamic", 5000)
    counts, real = ("counts", "poisson", "none", 9), ("digits", "gaussian_learned", "none", None)

    def told(*rows):
        return [tuple(s) for s in settings([{"config": dict(zip(fields, row, strict=True))} for row in rows])]

    assert set(told((*digits, "float32"), (*mnist, "float32"), (*counts, "float32"))) == {("dataset",)}
    assert set(told((*digits, "float32"), (*real, "float32"))) == {("likelihood",)}
    assert set(told((*digits, "float32"), (*real, "float32"), (*mnist, "float32"))) == {("dataset", "likelihood")}
    assert set(told((*digits, "float32"), (*digits[:3], 7, "float32"))) == {("validation",)}
