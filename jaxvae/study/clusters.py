"""A study's shards as tasks of a cluster, either of Slurm, through submitit, or of Ray.

A task is the command ``jaxvae compare --shard I/N`` of one shard. ``shards`` describes how the work is shared, what is
on disk and how a study continues. All machines must share the study's directory and the data.
"""

import os
import runpy
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxvae.arguments import require
from jaxvae.extras import load_extra

_TIMEOUTS = 100  # how often a task may be queued again


def submit_to_slurm(
    tasks: Sequence[Sequence[str]], logs: Path, resources: Mapping[str, Any], cluster: str = "slurm"
) -> list[Any]:
    """Submits tasks as one array job, which is queued again after a timeout or preemption, and doesn't wait for it.

    Args:
        tasks: the words of each command, after ``jaxvae``.
        logs: the folder for their output.
        resources: submitit's parameters, such as ``timeout_min``, ``gpus_per_node`` or ``slurm_partition``.
        cluster: "slurm", or another of submitit's executors.

    Returns:
        submitit's jobs.

    Raises:
        ValueError: if there is no Slurm, or for a parameter that isn't submitit's.
        ImportError: without the extra ``slurm``.
    """
    submitit = load_extra("--on slurm", "submitit", "slurm")
    require(cluster != "slurm" or shutil.which("sbatch") is not None, "--on", "slurm", "where there is an sbatch")

    command: Any = submitit.helpers.CommandFunction

    class Task(command):
        """A command that is submitted again unchanged, as it continues where it stopped."""

        def checkpoint(self, *args: Any, **kwargs: Any) -> Any:
            return submitit.helpers.DelayedSubmission(self, *args, **kwargs)

    executor = submitit.AutoExecutor(logs, cluster=cluster, **{f"{cluster}_max_num_timeout": _TIMEOUTS})
    try:
        executor.update_parameters(**{"name": "jaxvae", **resources})
    except (NameError, TypeError, ValueError, AssertionError) as error:
        raise ValueError(f"--resources must be parameters of submitit, got {dict(resources)} ({error})") from error
    with executor.batch():
        return [executor.submit(Task([sys.executable, "-m", "jaxvae", *words])) for words in tasks]


def run_on_ray(tasks: Sequence[Sequence[str]], resources: Mapping[str, Any]) -> None:
    """Runs tasks on a Ray cluster and waits for them; if a node or worker is lost, its tasks run again elsewhere.

    The cluster is the one that Ray finds (``RAY_ADDRESS``, or one on this machine), or else a new one on this machine.

    Args:
        tasks: the words of each command, after ``jaxvae``.
        resources: Ray's options for a task, such as ``num_gpus`` or ``num_cpus``.

    Raises:
        ValueError: for an option that isn't Ray's.
        ChildProcessError: if tasks fail; it is raised after the others are done.
        ImportError: without the extra ``ray``.
    """
    ray = load_extra("--on ray", "ray", "ray")
    if not ray.is_initialized():
        ray.init(log_to_driver=True)
    once = {"max_calls": 1, "max_retries": -1}  # one process per task, as JAX keeps its devices until the process ends
    try:
        task = ray.remote(**once, **resources)(_run_here)
    except (TypeError, ValueError) as error:
        raise ValueError(f"--resources must be options of a Ray task, got {dict(resources)} ({error})") from error
    failures = []
    for number, running in enumerate([task.remote(words, os.getcwd()) for words in tasks], 1):
        try:
            ray.get(running)
        except ray.exceptions.RayError as error:
            failures.append(f"task {number}: {str(error).strip().splitlines()[-1]}")
    if failures:
        raise ChildProcessError(f"{len(failures)} of {len(tasks)} tasks failed: {'; '.join(failures)}")


def _run_here(words: Sequence[str], directory: str) -> None:
    """Runs a command in this process, so that it ends when the process ends."""
    os.chdir(directory)
    sys.argv = ["jaxvae", *words]
    try:
        runpy.run_module("jaxvae", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if ended.code:
            raise RuntimeError(f"jaxvae ended with {ended.code}") from None
