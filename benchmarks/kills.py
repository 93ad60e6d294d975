"""Kills a run with SIGKILL and resumes it each time: does it end as if never killed, bit for bit?

``python -m benchmarks.kills`` prints one line per kill and adds a row to ``benchmarks/results/kills.json``;
``python -m benchmarks.kills compare --kills 5 --epochs 50`` does the same with a study, and its table. Every other kill
is at a random moment, the others while a checkpoint or the table is being written, for which each renaming of a file
takes 0.2 s longer.
"""

import argparse
import datetime
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
FLAGS = {
    "train": "--resume --evaluate-every 5 --batch-size 80 --samples 1",
    "compare": (
        "--parameterization log_variance log_std sigmoid_std --constraint none --learning-rate 0.001 0.01 --seed 0 1 "
        "--latents 4 --hidden 16 --samples 10"
    ),
}
PARTIAL = {"train": "checkpoints/*tmp*", "compare": ".results.jsonl.*"}
SLOW_DISK = """
import os, sys, time
from jaxvae.cli import main
def slow(function):
    return lambda *args, **more: (time.sleep(0.2), function(*args, **more))[1]
os.rename, os.replace = slow(os.rename), slow(os.replace)
sys.exit(main())
"""


def start(subject: str, out: Path, epochs: int) -> subprocess.Popen:
    """A command that begins, or goes on, in ``out``."""
    flags = ["--out", str(out), "--epochs", str(epochs), *FLAGS[subject].split()]
    command = [sys.executable, "-c", SLOW_DISK, subject, *flags]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def wait(process: subprocess.Popen, seconds: float) -> bool:
    """Waits so long; False where the process has ended before."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def wait_for_a_write(process: subprocess.Popen, subject: str, out: Path, number: int) -> bool:
    """Waits until so many files have been seen half-written; False where the process has ended before."""
    begun, seen = set(out.glob(PARTIAL[subject])), set[Path]()
    while process.poll() is None:
        seen |= set(out.glob(PARTIAL[subject])) - begun
        if len(seen) >= number:
            return True
        time.sleep(0.002)
    return False


def finish(process: subprocess.Popen) -> None:
    """Waits, and raises where the run failed."""
    _, error = process.communicate()
    if process.returncode:
        raise RuntimeError(f"exit status {process.returncode}: {error.decode()[-500:]}")


def result(subject: str, out: Path) -> tuple[str, ...]:
    """Digests of the last state and of the metrics, or of a study's table, but for times."""
    if subject == "compare":
        from jaxvae import study

        table = [{**record, "seconds": 0} for record in study.read_results(out / study.RESULTS)]
        return (hashlib.sha256(json.dumps(table).encode()).hexdigest(),)

    import jax

    from jaxvae import training

    state = training.load_state(out)
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        digest.update(jax.device_get(leaf).tobytes())
    records = training.read_metrics(out / training.METRICS)
    timeless = [{k: v for k, v in record.items() if k not in ("seconds", "examples_per_second")} for record in records]
    return digest.hexdigest(), hashlib.sha256(json.dumps(timeless).encode()).hexdigest()


def survive(subject: str, kills: int, epochs: int, seed: int = 0) -> dict[str, Any]:
    """Kills so many times, resuming each time, and compares what comes out with a run that was left alone.

    A run that ends before it is killed has to have come out right, too; the next one begins anew.
    """
    chance, done, writing, compared, equal = random.Random(seed), 0, 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for name in ("first", "alone"):  # the second finds programs compiled, as those to be killed will
            began = time.perf_counter()
            finish(start(subject, Path(folder) / name, epochs))
            span = time.perf_counter() - began
        wanted = result(subject, Path(folder) / "alone")
        while True:
            out = Path(folder) / f"killed-{compared}"
            if subject == "compare":  # the same cells in lockstep, which the last digits depend on
                out.mkdir()
                shutil.copy(Path(folder) / "alone" / "study.json", out)
            process = start(subject, out, epochs)
            while done < kills:
                written = done % 2 == 1
                if not (
                    wait_for_a_write(process, subject, out, chance.randint(1, 3))
                    if written
                    else wait(process, chance.uniform(0, span))
                ):
                    break
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                done, writing = done + 1, writing + written
                print(f"kill {done}: {_saved(subject, out)}", flush=True)
                process = start(subject, out, epochs)
            finish(process)
            compared += 1
            equal += result(subject, out) == wanted
            if done == kills:
                break
    return {"kills": done, "in_a_write": writing, "runs": compared, "equal": equal, "seconds_alone": round(span, 1)}


def _saved(subject: str, out: Path) -> str:
    """What a kill left."""
    if subject == "compare":
        table = out / "results.jsonl"
        return f"{len(table.read_text().splitlines()) if table.exists() else 0} cells"
    return f"checkpoints {sorted(path.name for path in (out / 'checkpoints').glob('[0-9]*'))}"


def add_row(path: Path, row: dict[str, Any]) -> None:
    """Adds a row to a file of results, in place of an older one of the same command."""
    rows = json.loads(path.read_text()) if path.exists() else []
    rows = [other for other in rows if other["command"] != row["command"]]
    path.write_text(json.dumps([*rows, row], indent=1) + "\n")


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subject", choices=list(FLAGS), nargs="?", default="train")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--out", type=Path, default=RESULTS / "kills.json")
    args = parser.parse_args()
    row = survive(args.subject, args.kills, args.epochs)
    print(row)
    command = f"python -m benchmarks.kills {args.subject} --kills {args.kills} --epochs {args.epochs}"
    add_row(args.out, {"date": datetime.date.today().isoformat(), "command": command, **row})
    if row["equal"] != row["runs"]:
        sys.exit("a run that was killed ended otherwise than one that wasn't")


if __name__ == "__main__":
    main()
