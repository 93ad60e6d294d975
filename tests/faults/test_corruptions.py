"""Damaged files; ``benchmarks.corruptions`` does it hundreds of times."""

import random

import pytest

from benchmarks import corruptions


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corruptions")
    corruptions.half_a_run(folder)
    return corruptions.Run(folder)


def file(run, start: str, end: str):
    """The last file of a run that begins and ends so: for a checkpoint, of the last one."""
    return max(path for path in run.files if str(path).startswith(start) and str(path).endswith(end))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "end", "how"),
    [
        ("checkpoints/48/state", "manifest.ocdbt", "flipped"),
        pytest.param("checkpoints/48/metrics", "metrics", "cut", marks=pytest.mark.slow),
        pytest.param("checkpoints/48", "digests.json", "gone", marks=pytest.mark.slow),
    ],
)
def test_a_damaged_checkpoint_is_refused_and_the_run_goes_on_from_the_one_before(run, start, end, how):
    ends = run.uses(file(run, start, end), how, random.Random(0))
    assert ends == {"evaluate": "refused in one line", "train --resume": "as undamaged"}


@pytest.mark.slow
def test_a_damaged_configuration_is_refused(run):
    ends = run.uses(file(run, "config", "json"), "cut", random.Random(0))
    assert ends == {"evaluate": "refused in one line", "train --resume": "refused in one line"}


@pytest.mark.slow
def test_lost_metrics_are_said_to_be(run):
    ends = run.uses(file(run, "metrics", "jsonl"), "gone", random.Random(0))
    assert ends == {"evaluate": "as undamaged", "train --resume": "as undamaged"}


@pytest.mark.slow
def test_a_truncated_table_is_trained_anew(tmp_path):
    whole = tmp_path / "whole"
    assert corruptions.command("compare", *corruptions.STUDY.split(), "--out", str(whole)).status == 0
    assert corruptions.study_table(tmp_path, "cut", random.Random(0), whole) == "as undamaged"
