import pytest
from synthetic import study as synthetic_study

from jaxvae.study.results import RESULTS, write_results
from jaxvae.study.shards import ALONE, Shard, read_tables, shard_of, shard_of_job


@pytest.mark.parametrize("total", [1, 2, 3, 7])
def test_each_thing_goes_to_one_shard_and_costs_are_even(total):
    costs = [5.0, 1.0, 1.0, 3.0, 2.0, 4.0, 4.0]
    shares = [Shard(i, total).share(range(7), costs) for i in range(1, total + 1)]
    assert sorted(i for share in shares for i in share) == list(range(7))
    assert all(share == sorted(share) for share in shares)
    loads = [sum(costs[i] for i in share) for share in shares]
    # Graham 1969: at most 4/3 of the best, which is at least the mean, and the costliest.
    assert max(loads) <= 4 / 3 * max(sum(costs) / total, 5.0)


def test_a_shard_s_table_is_its_own():
    names = {Shard(i, total).table for total in (1, 2, 3) for i in range(1, total + 1)}
    assert len(names) == 6
    assert ALONE.table == RESULTS


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/2/3", "-1/2", "a/b", "", "1/٣"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(ValueError, match="shard must be I/N, from 1/N to N/N, got"):
        shard_of(text)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"SLURM_ARRAY_TASK_ID": "3"}, None),
        ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8"}, "4/8"),
        ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_ARRAY_TASK_MIN": "1"}, "3/8"),
        (
            {
                "SLURM_ARRAY_TASK_ID": "14",
                "SLURM_ARRAY_TASK_COUNT": "3",
                "SLURM_ARRAY_TASK_MIN": "10",
                "SLURM_ARRAY_TASK_STEP": "2",
            },
            "3/3",
        ),
        ({"JOB_COMPLETION_INDEX": "0", "JOB_COMPLETIONS": "4"}, "1/4"),
    ],
)
def test_a_job_says_whose_share_it_is(environment, expected):
    found = shard_of_job(environment)
    assert (found and str(found[0])) == expected
    assert found is None or found[1] in environment


@pytest.mark.parametrize("index", ["x", "-1", "4"])
def test_a_job_that_says_it_wrongly_is_refused(index):
    with pytest.raises(ValueError, match="must be"):
        shard_of_job({"JOB_COMPLETION_INDEX": index, "JOB_COMPLETIONS": "4"})


def test_tables_are_read_together_and_a_cell_counts_once(tmp_path):
    records = synthetic_study(["log_variance", "log_std"], (0.01,), 3)
    write_results(tmp_path / Shard(2, 2).table, records[:4])
    write_results(tmp_path / Shard(1, 3).table, records[3:])
    assert read_tables(tmp_path) == [records[3], records[4], records[5], *records[:3]]
    assert read_tables(tmp_path / "nowhere") == []
