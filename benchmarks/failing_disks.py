"""Takes the disk from each command that writes, at each of its calls: does it end in one line, and can it be run again?

``python -m benchmarks.failing_disks`` runs each command of ``benchmarks.kill_points`` (``train export`` of these) once
for each ``--every``-th call by which a file or a folder comes to be or grows. From that call on

- ``full``: everything that would grow fails with ENOSPC, as on a disk without room;
- ``quota``: it fails with EDQUOT, as beyond a quota;
- ``broken``: it fails with EIO, as on a disk that breaks or a server that is gone;
- ``vanished``: the directory that the command writes to is deleted, once, just before the call.

A command has to end in time, either with exit status 0 and everything written as by an undisturbed run, or with exit
status 2 and one line of error; never with a traceback. Then, unless its directory was deleted, it is run again with
room, and has to end as if nothing had happened. The counts go to ``benchmarks/results/failing_disks.json``. It needs
Linux and a C compiler.
"""

import argparse
import datetime
import errno
import os
import pickle
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.corruptions import Answer
from benchmarks.kill_points import SUBJECTS, Stop, Subject, Tracer, differing, ended, loaded_first, prepared
from benchmarks.kills import RESULTS, add_row

ERRORS = {"full": errno.ENOSPC, "quota": errno.EDQUOT, "broken": errno.EIO}
WAYS = (*ERRORS, "vanished")
NEVER = 2**30
GROWING = ("open", "openat", "write", "half", "mkdir", "mkdirat", "link", "symlink")


def disturbed(tracer: Tracer, subject: Subject, folder: Path, way: str, number: int) -> Answer:
    """Runs a command in a folder, and takes the disk away at a call."""
    if way in ERRORS:
        return tracer.fail(subject.line, folder, number, ERRORS[way])

    def delete(child: int, stop: Stop, now: int) -> None:
        if now == number:
            shutil.rmtree(folder / stop.path.split("/")[0], ignore_errors=True)

    return tracer.run(subject.line, folder, delete)


def left(folder: Path) -> dict[str, Any]:
    """What a command left, as ``ended`` has it, looked at by a fork: JAX must not start in this process."""
    told = folder.with_name(f"left-{folder.name}")
    child = os.fork()
    if not child:
        told.write_bytes(pickle.dumps(ended(folder)))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    return pickle.loads(told.read_bytes())


def verdict(answer: Answer, complete: bool) -> str:
    """What became of a command whose disk failed: "complete", "one line", or what must not be."""
    if answer.status < 0:
        return f"ended by signal {-answer.status}"
    if any("Traceback" in line for line in answer.errors):
        return "a traceback"
    if answer.status == 0:
        return "complete" if complete else "exit status 0, but not everything is written"
    lines = [line for line in answer.errors if line.startswith("jaxvae: error: ")]
    return "one line" if answer.status == 2 and len(lines) == 1 else f"status {answer.status}, {len(lines)} errors"


class Calm(NamedTuple):
    """A command that nothing disturbed.

    Attributes:
        subject: the command.
        fresh: the folder in which it starts.
        stops: its calls.
        wanted: what it left.
        stable: the files that a second run left equal.
    """

    subject: Subject
    fresh: Path
    stops: list[Stop]
    wanted: dict[str, Any]
    stable: set[str]

    def equals(self, folder: Path) -> bool:
        """Whether a folder is as this command left its own."""
        return not differing(left(folder), self.wanted, self.stable)


def undisturbed(tracer: Tracer, subject: Subject, root: Path) -> Calm:
    """Runs a command twice, and looks at its calls and at what it leaves."""
    stops, fresh, whole, again = list[Stop](), prepared(subject.before, root.parent), root / "whole", root / "again"
    shutil.copytree(fresh, whole)
    assert tracer.run(subject.line, whole, lambda child, stop, number: stops.append(stop)).status == 0
    shutil.copytree(fresh, again)
    assert tracer.fail(subject.line, again, NEVER, 0).status == 0
    wanted, found = left(whole), left(again)
    return Calm(subject, fresh, stops, wanted, {file for file, x in found.items() if wanted.get(file) == x})


def endure(tracer: Tracer, calm: Calm, root: Path, way: str, every: int) -> dict[str, Any]:
    """Runs a command as often as it has calls that grow something, and looks at how it ends, and ends again."""
    growing = [i for i, stop in enumerate(calm.stops, 1) if stop.call in GROWING]
    if way not in ERRORS:  # a file beside others has no directory to delete
        growing = [i for i in growing if "/" in calm.stops[i - 1].path]
    verdicts, failures = Counter[str](), []
    for number in growing[::every]:
        folder = root / f"{way}-{number}"
        shutil.copytree(calm.fresh, folder)
        answer = disturbed(tracer, calm.subject, folder, way, number)
        found = verdict(answer, not answer.status and calm.equals(folder))
        verdicts[found] += 1
        fails = found not in ("complete", "one line")
        if way in ERRORS:
            second = tracer.fail(calm.subject.line, folder, NEVER, 0)
            fails = fails or bool(second.status) or not calm.equals(folder)
            answer.errors.append(f"then {second}")
        if fails:
            stop = calm.stops[number - 1]
            failures.append(f"{stop.call} {stop.path}: {found}, {answer.errors[-2:]}")
            print(way, failures[-1], flush=True)
        shutil.rmtree(folder)
    return {"calls": len(growing), "runs": len(growing[::every]), "ends": dict(verdicts), "failures": failures}


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", choices=[[], *SUBJECTS], nargs="*", metavar="COMMAND", help=", ".join(SUBJECTS))
    parser.add_argument("--ways", choices=WAYS, nargs="+", default=WAYS, help="how the disk fails")
    parser.add_argument("--every", type=int, default=1, help="of the calls, only every so many")
    parser.add_argument("--out", type=Path, default=RESULTS / "failing_disks.json")
    args = parser.parse_args()
    tracer, bad = loaded_first("benchmarks.failing_disks"), False
    with tempfile.TemporaryDirectory() as folder:
        for name in args.subjects or SUBJECTS:
            root = Path(folder) / name.replace(" ", "")
            calm = undisturbed(tracer, SUBJECTS[name], root)
            for way in args.ways:
                row = endure(tracer, calm, root, way, args.every)
                print(name, way, row, flush=True)
                line = f"python -m benchmarks.failing_disks '{name}' --ways {way} --every {args.every}"
                date = datetime.date.today().isoformat()
                add_row(args.out, {"date": date, "command": line, "of": name, "way": way, **row})
                bad = bad or bool(row["failures"])
        os.chdir("/")
    if bad:
        sys.exit("a command whose disk failed ended otherwise than it should")


if __name__ == "__main__":
    main()
