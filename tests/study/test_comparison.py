import json
import random
import signal
import subprocess
import sys
import time

import pytest

from jaxvae import study
from jaxvae.study.comparison import STUDY
from jaxvae.study.results import write_results

GRID = {
    "parameterization": ("log_variance", "softplus_std"),
    "hidden": ((8,),),
    "latents": (2,),
    "epochs": (2,),
    "batch_size": (80,),
    "samples": (5,),
    "learning_rate": (1e-3, 1e-2),
    "seed": (0, 1),
}


def numbers(out):
    """The table, but for the time that it took."""
    return [{**record, "seconds": 0} for record in study.read_results(out / study.RESULTS)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "whole"
    seen = []
    assert study.compare(GRID, out, watch=lambda name, share, left: seen.append((name, share)))
    assert [share for _, share in seen] == sorted(share for _, share in seen)
    assert seen[0] == ("log_variance", 0)
    assert seen[-1] == ("softplus_std", 1)
    return out


@pytest.mark.slow
def test_a_study_has_all_its_cells(whole):
    configs = [record["config"] for record in numbers(whole)]
    assert [(c["parameterization"], c["learning_rate"], c["seed"]) for c in configs] == [
        (p, r, s) for p in GRID["parameterization"] for r in GRID["learning_rate"] for s in GRID["seed"]
    ]
    assert study.read_grid(whole) == GRID
    assert study.is_study(whole)


@pytest.mark.slow
def test_a_finished_study_trains_nothing(whole, monkeypatch):
    before = (whole / study.RESULTS).read_bytes()
    for name in ("Sweep", "experiment_of"):
        monkeypatch.setattr(f"jaxvae.study.comparison.{name}", None)
    assert study.compare(GRID, whole)
    assert (whole / study.RESULTS).read_bytes() == before


@pytest.mark.slow
def test_cells_of_other_data_or_random_numbers_are_not_gone_on_with(whole, tmp_path, caplog):
    for field, other, words in (
        (
            "data",
            {"test": "0"},
            "data must be as they were when .*results.jsonl was started, got 'images or labels of the",
        ),
        ("versions", {"jax_enable_x64": "maybe"}, "jax_enable_x64 must be 'maybe', as in .*: other random numbers"),
    ):
        records = [{**r, field: {**r[field], **other}} for r in study.read_results(whole / study.RESULTS)]
        write_results(tmp_path / study.RESULTS, records)
        with pytest.raises(ValueError, match=words):
            study.compare(GRID, tmp_path)
    write_results(tmp_path / study.RESULTS, [{**r, "versions": {"jaxlib": "0.0"}} for r in records])
    (tmp_path / STUDY).write_text((whole / STUDY).read_text())
    assert study.compare(GRID, tmp_path)
    assert ", not 0.0" in caplog.text


@pytest.mark.slow
def test_a_study_that_was_stopped_goes_on(whole, tmp_path):
    groups = []
    assert not study.compare(
        GRID, tmp_path, watch=lambda name, share, left: groups.append(name), stop=lambda: "softplus_std" in groups
    )
    done = study.read_results(tmp_path / study.RESULTS)
    assert [r["config"]["parameterization"] for r in done] == 4 * ["log_variance"]
    (tmp_path / STUDY).write_text((whole / STUDY).read_text())  # the widths, that rounding depends on
    assert study.compare(study.read_grid(tmp_path), tmp_path)
    assert numbers(tmp_path) == numbers(whole)


@pytest.mark.slow
def test_more_cells_are_added_to_a_table(whole, tmp_path):
    (tmp_path / STUDY).write_text((whole / STUDY).read_text())
    (tmp_path / study.RESULTS).write_text("".join((whole / study.RESULTS).read_text().splitlines(True)[:4]))
    trained = []
    more = {**GRID, "parameterization": ("log_variance",), "seed": (0, 1, 2)}
    assert study.compare(more, tmp_path, watch=lambda name, share, left: trained.append(name))
    records = numbers(tmp_path)
    assert records[:4] == numbers(whole)[:4]
    assert [(r["config"]["learning_rate"], r["config"]["seed"]) for r in records[4:]] == [(1e-3, 2), (1e-2, 2)]


@pytest.mark.slow
def test_a_search_trains_some_of_the_cells_and_goes_on_where_it_stopped(tmp_path):
    grid = {**GRID, "parameterization": ("log_variance",), "learning_rate": (1e-4, 1e-3, 3e-3, 1e-2, 3e-1)}
    rounds, out = [], tmp_path / "search"
    watch = lambda name, share, left: rounds.append(share)  # noqa: E731
    assert not study.compare(grid, out, search=True, watch=watch, stop=lambda: len(rounds) > 3)
    begun = numbers(out)
    assert [(r["config"]["learning_rate"], r["config"]["seed"]) for r in begun] == [(3e-3, 0), (1e-2, 0)]
    assert study.compare(study.read_grid(out), out, search=study.read_search(out))
    records = numbers(out)
    assert all(record in records for record in begun)
    known = {(r["config"]["learning_rate"], r["config"]["seed"]): r["validation_nll"] for r in records}
    assert len(known) == len(records) < 10
    assert {rate for rate, seed in known if seed == 1} == {
        *sorted({r for r, _ in known}, key=lambda r: known[r, 0])[:2]
    }
    before = (out / study.RESULTS).read_bytes()
    assert study.compare(grid, out, search=True, watch=lambda *_: pytest.fail("it is done"))
    assert (out / study.RESULTS).read_bytes() == before


@pytest.mark.slow
def test_shards_end_with_the_same_table(whole, tmp_path):
    (tmp_path / STUDY).write_text((whole / STUDY).read_text())
    trained = []
    for number in (1, 2):
        shard = study.Shard(number, 2)
        complete = study.compare(GRID, tmp_path, shard=shard, watch=lambda name, share, left: trained.append(name))
        assert complete == (number == 2)
        assert (tmp_path / study.RESULTS).exists() == complete
        assert len(study.read_results(tmp_path / shard.table)) == 4
    assert list(dict.fromkeys(trained)) == ["log_variance", "softplus_std"]
    assert numbers(tmp_path) == numbers(whole)


@pytest.mark.slow
def test_the_number_of_shards_may_change(whole, tmp_path):
    for name in (STUDY, study.RESULTS):
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    lines = (tmp_path / study.RESULTS).read_text().splitlines(True)
    (tmp_path / study.RESULTS).unlink()
    (tmp_path / study.Shard(3, 5).table).write_text("".join(lines[4:]))
    (tmp_path / study.Shard(1, 2).table).write_text("".join(lines[:4]))
    assert study.compare(GRID, tmp_path, shard=study.Shard(1, 3), watch=lambda *_: pytest.fail("a cell twice"))
    assert numbers(tmp_path) == numbers(whole)


@pytest.mark.slow
def test_the_baseline_is_noted_and_stays(whole, tmp_path):
    assert study.read_baseline(whole) == "log_variance"
    (tmp_path / study.RESULTS).write_bytes((whole / study.RESULTS).read_bytes())
    study_json = json.loads((whole / STUDY).read_text())
    (tmp_path / STUDY).write_text(json.dumps({"grid": study_json["grid"], "widths": {}}))  # as older versions did
    assert study.read_baseline(tmp_path) == "log_variance"
    with pytest.raises(
        ValueError, match="baseline must be log_variance, noted when the study began, got 'softplus_std'"
    ):
        study.compare(GRID, tmp_path, baseline="softplus_std")
    with pytest.raises(ValueError, match="baseline must be one of log_variance, softplus_std, got 'log_std'"):
        study.compare(GRID, tmp_path / "new", baseline="log_std")
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_studies_are_merged(whole, tmp_path):
    lines = (whole / study.RESULTS).read_text().splitlines(True)
    for name, part in (("a", lines[:5]), ("b", lines[3:])):
        (tmp_path / name).mkdir()
        (tmp_path / name / study.RESULTS).write_text("".join(part))
    study.merge_studies([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert numbers(tmp_path / "c") == numbers(whole)
    assert study.read_grid(tmp_path / "c") is None
    with pytest.raises(ValueError, match=r"merge must be a study's directory, with a results[.]jsonl, got .*nowhere"):
        study.merge_studies([tmp_path / "nowhere"], tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_a_directory_in_use_is_refused(tmp_path):
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(ValueError, match="out must be a new or empty directory, or that of a study, got"):
        study.compare(GRID, tmp_path)
    with pytest.raises(ValueError, match="out must be a directory, got"):
        study.compare(GRID, tmp_path / "letters.txt")
    assert [entry.name for entry in tmp_path.iterdir()] == ["letters.txt"]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"grid": 1}',
        '{"widths": {}, "grid": {}, "search": 1}',
        '{"widths": {}, "grid": 3}',
        '{"widths": [], "grid": {}}',
        '{"widths": {}, "grid": {"a": 5}}',
        '{"widths": {"a": "3"}, "grid": {}}',
        "[" * 100000,
    ],
)
def test_a_broken_study_is_refused(tmp_path, text):
    (tmp_path / STUDY).write_text(text)
    with pytest.raises(ValueError, match=r"study[.]json must be a study's, got"):
        study.compare(GRID, tmp_path)


@pytest.mark.slow
def test_a_study_that_was_killed_ends_with_the_same_table(whole, tmp_path):
    """Two kills; many more are in ``benchmarks.kills``."""
    out = tmp_path / "study"
    out.mkdir()
    (out / STUDY).write_text((whole / STUDY).read_text())
    code = f"from pathlib import Path; from jaxvae import study; study.compare({GRID!r}, Path({str(out)!r}))"

    def start():
        return subprocess.Popen([sys.executable, "-c", code])

    process = start()
    while not (out / study.RESULTS).exists():  # the first group is in the table
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(numbers(out)) in (4, 8)
    process = start()
    time.sleep(random.Random(0).uniform(1, 4))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert start().wait() == 0
    assert numbers(out) == numbers(whole)
    assert {path.name for path in out.iterdir() if path.name[0] != "."} == {STUDY, study.RESULTS}
    assert json.loads((out / STUDY).read_text())["widths"] == json.loads((whole / STUDY).read_text())["widths"]


@pytest.mark.slow
def test_four_shards_of_which_two_are_killed_end_with_the_same_table(whole, tmp_path):
    out = tmp_path / "study"
    out.mkdir()
    (out / STUDY).write_text((whole / STUDY).read_text())
    grid = {**GRID, "latents": (2, 3)}
    code = "from pathlib import Path; from jaxvae import study; import sys; "
    code += f"print(study.compare({grid!r}, Path({str(out)!r}), shard=study.shard_of(sys.argv[1])))"

    def start(shard):
        return subprocess.Popen([sys.executable, "-c", code, shard], stdout=subprocess.PIPE, text=True)

    processes = {shard: start(shard) for shard in ("1/4", "2/4", "3/4", "4/4")}
    time.sleep(random.Random(1).uniform(5, 10))
    for shard in ("2/4", "3/4"):
        processes[shard].kill()
        processes[shard].communicate()
        processes[shard] = start(shard)
    said = [process.communicate()[0].strip() for process in processes.values()]
    assert all(process.returncode == 0 for process in processes.values())
    assert "True" in said
    records = numbers(out)
    assert len(records) == len({json.dumps(r["config"]) for r in records}) == 16
    assert [r for r in records if r["config"]["latents"] == 2] == numbers(whole)
