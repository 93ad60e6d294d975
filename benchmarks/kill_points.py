"""Kills a command at each call by which it changes files, and has it go on: does it end as if never killed?

``python -m benchmarks.kill_points train`` finds the calls by counting them in a run that is left alone, kills another
one just before each of them, resumes it, and adds a row to ``benchmarks/results/kill_points.json``; so with
``compare``. ``--every 5`` takes every fifth call, from ``--first`` on.
"""

import argparse
import datetime
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.kills import FLAGS, RESULTS, add_row, result

CALLS = ("replace", "rename", "fsync", "mkdir", "unlink", "rmdir")
COUNTING = f"""
import itertools, os, signal, sys
from pathlib import Path
from jaxvae.cli import main
point, counted = int(sys.argv.pop(1)), Path(sys.argv.pop(1))
numbers = itertools.count(1)
def counting(function):
    def call(*args, **more):
        number = next(numbers)
        if number == point:
            os.kill(os.getpid(), signal.SIGKILL)
        counted.write_text(str(number))
        return function(*args, **more)
    return call
for name in {CALLS!r}:
    setattr(os, name, counting(getattr(os, name)))
sys.exit(main())
"""


def run(subject: str, out: Path, epochs: int, point: int = 0) -> tuple[int, str, int]:
    """Runs a command that is killed at its ``point``-th call; its status, its stderr, and the calls that it made."""
    counted = out.with_name(f"{out.name}.calls")
    flags = ["--out", str(out), "--epochs", str(epochs), *FLAGS[subject].split()]
    command = [sys.executable, "-c", COUNTING, str(point), str(counted), subject, *flags]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stderr, int(counted.read_text() or 0) if counted.exists() else 0


def survive(subject: str, epochs: int, first: int = 1, every: int = 1, most: int | None = None) -> dict[str, Any]:
    """Kills at each call in turn, resumes, and compares what comes out with a run that was left alone."""
    killed = equal = 0
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder) / "alone"
        status, error, calls = run(subject, alone, epochs)
        if status:
            raise RuntimeError(f"exit status {status}: {error[-500:]}")
        wanted = result(subject, alone)
        for point in range(first, calls + 1, every)[:most]:
            out = Path(folder) / f"killed-{point}"
            if subject == "compare":  # the same cells in lockstep, which the last digits depend on
                out.mkdir()
                shutil.copy(alone / "study.json", out)
            if run(subject, out, epochs, point)[0] != -signal.SIGKILL:
                continue  # background threads make fewer calls at times
            killed += 1
            status, error, _ = run(subject, out, epochs)
            same = status == 0 and result(subject, out) == wanted
            equal += same
            end = "as if never killed" if same else error[-300:] or "with other numbers"
            print(f"call {point} of {calls}: {end}", flush=True)
            shutil.rmtree(out)
    return {"calls": calls, "kills": killed, "equal": equal}


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subject", choices=list(FLAGS), nargs="?", default="train")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "kill_points.json")
    args = parser.parse_args()
    row = survive(args.subject, args.epochs, args.first, args.every)
    print(row)
    command = f"python -m benchmarks.kill_points {args.subject} --epochs {args.epochs}"
    command += f" --first {args.first} --every {args.every}" if (args.first, args.every) != (1, 1) else ""
    add_row(args.out, {"date": datetime.date.today().isoformat(), "command": command, **row})
    if row["equal"] != row["kills"]:
        sys.exit("a command that was killed ended otherwise than one that wasn't")


if __name__ == "__main__":
    main()
