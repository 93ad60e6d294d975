"""Kills a run with SIGKILL at random moments and resumes it each time: does it end as if never killed, bit for bit?

``python -m benchmarks.kills`` prints one line per kill and writes ``benchmarks/results/kills.json``.
"""

import argparse
import datetime
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "kills.json"


def start(out: Path, epochs: int) -> subprocess.Popen:
    """A run of the command line that begins, or goes on, in ``out``."""
    flags = [
        "--out",
        str(out),
        "--resume",
        "--epochs",
        str(epochs),
        "--evaluate-every",
        "5",
        "--batch-size",
        "80",
        "--samples",
        "1",
    ]
    command = [sys.executable, "-m", "jaxvae", "train", *flags]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def finish(process: subprocess.Popen) -> None:
    """Waits, and raises where the run failed."""
    _, error = process.communicate()
    if process.returncode:
        raise RuntimeError(f"exit status {process.returncode}: {error.decode()[-500:]}")


def result(out: Path) -> tuple[str, str]:
    """Digests of the last state, and of the metrics but for times."""
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


def survive(kills: int, epochs: int, seed: int = 0) -> dict[str, Any]:
    """Kills so many times, resuming each time, and compares what comes out with a run that was left alone.

    A run that ends before it is killed has to have come out right, too; the next one begins anew.
    """
    moments, done, compared, equal = random.Random(seed), 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for name in ("first", "alone"):  # the second finds programs compiled, as those to be killed will
            began = time.perf_counter()
            finish(start(Path(folder) / name, epochs))
            span = time.perf_counter() - began
        wanted = result(Path(folder) / "alone")
        while True:
            out = Path(folder) / f"killed-{compared}"
            process = start(out, epochs)
            while done < kills:
                try:
                    process.wait(moments.uniform(0, 1) * span)
                    break
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.communicate()
                    done += 1
                    last = sorted((out / "checkpoints").glob("[0-9]*")) if out.exists() else []
                    print(f"kill {done}: checkpoints {[path.name for path in last]}", flush=True)
                    process = start(out, epochs)
            finish(process)
            compared += 1
            equal += result(out) == wanted
            if done == kills:
                break
    return {"kills": done, "runs": compared, "equal": equal, "epochs": epochs, "seconds_alone": round(span, 1)}


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    row = survive(args.kills, args.epochs)
    print(row)
    row = {"date": datetime.date.today().isoformat(), "command": "python -m benchmarks.kills", **row}
    args.out.write_text(json.dumps(row, indent=1) + "\n")
    if row["equal"] != row["runs"]:
        sys.exit("a run that was killed ended otherwise than one that wasn't")


if __name__ == "__main__":
    main()
