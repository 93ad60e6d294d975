import json
import threading
import time

import one_device
import pytest

from jaxvae import study
from jaxvae.study import clusters
from jaxvae.study.clusters import run_on_ray, submit_to_slurm

GRID = {
    "parameterization": ("log_variance", "log_std", "softplus_std", "squareplus_std"),
    "constraint": ("none",),
    "hidden": ((8,),),
    "latents": (2,),
    "epochs": (2,),
    "batch_size": (80,),
    "samples": (5,),
    "learning_rate": (1e-3, 1e-2),
    "seed": (0, 1),
}


def shards(out, count):
    words = study.command(GRID).split()[1:]
    return [[*words, "--out", str(out), "--shard", f"{i}/{count}"] for i in range(1, count + 1)]


def cells(out):
    return sorted(json.dumps(record["config"]) for record in study.read_tables(out))


@pytest.fixture
def submitit():
    return pytest.importorskip("submitit")


@pytest.fixture
def cluster(monkeypatch):
    """A Ray cluster of this machine, with one node that takes one task at a time."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    for name, value in one_device.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


def test_a_cluster_that_is_not_there_is_refused(submitit, monkeypatch, tmp_path):
    monkeypatch.setattr(clusters.shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="--on must be where there is an sbatch, got 'slurm'"):
        submit_to_slurm([["list"]], tmp_path, {})
    assert not any(tmp_path.iterdir())


def test_a_resource_that_is_none_is_refused(submitit, tmp_path):
    with pytest.raises(ValueError, match=r"--resources must be parameters of submitit, got \{'gpus': 1\}"):
        submit_to_slurm([["list"]], tmp_path, {"gpus": 1}, cluster="local")


def test_a_job_is_its_command_and_fails_with_it(submitit, tmp_path):
    good, bad = submit_to_slurm([["list", "--names"], ["list", "--nams"]], tmp_path, {"timeout_min": 5}, "local")
    assert "log_variance" in good.result()
    assert "unrecognized arguments: --nams" in str(bad.exception())


@pytest.mark.slow
def test_jobs_train_a_study_between_them(submitit, tmp_path):
    out = tmp_path / "study"
    for job in submit_to_slurm(shards(out, 2), tmp_path / "logs", {"timeout_min": 10}, "local"):
        job.result()
    assert len(set(cells(out))) == len(cells(out)) == 16
    assert len(study.read_results(out / study.RESULTS)) == 16
    assert (out / "report.html").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_node_that_is_lost_loses_no_cell(cluster, tmp_path):
    with pytest.raises(ValueError, match=r"--resources must be options of a Ray task, got \{'gpus': 1\}"):
        run_on_ray([["list"]], {"gpus": 1})
    with pytest.raises(ChildProcessError, match="1 of 2 tasks failed: task 1: RuntimeError: jaxvae ended with 2"):
        run_on_ray([["list", "--nams"], ["list"]], {"num_cpus": 1})
    lost, out = cluster.add_node(num_cpus=1), tmp_path / "study"

    def lose():
        while not len(list(out.glob("results-*-of-4.jsonl"))) > 1:  # both nodes have trained a group
            time.sleep(0.05)
        cluster.remove_node(lost, allow_graceful=False)
        removed.set()

    removed = threading.Event()
    threading.Thread(target=lose, daemon=True).start()
    run_on_ray(shards(out, 4), {"num_cpus": 1})
    assert removed.wait(60)
    assert len(set(cells(out))) == len(cells(out)) == 16
    assert len(study.read_results(out / study.RESULTS)) == 16
    assert (out / "report.html").exists()
