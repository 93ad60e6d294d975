"""Kills each command that writes at every write and rename, and runs it again: does it end as if never killed?

``python -m benchmarks.kill_points`` traces a run of each command (``python -m benchmarks.kill_points train export`` of
these), by ``stopping.c``, which halts the whole process before each call by which a file or a folder comes to be,
grows, changes its name or goes, and once more in the midst of each write. What lies in the folder at such a moment is
what SIGKILL leaves, and SIGTERM where nobody handles it: it is copied, and the command is run again from each copy that
is unlike all before. Where a command heeds SIGTERM, that is sent to others of its runs, at ``--terminations`` of their
calls. The counts go to ``benchmarks/results/kill_points.json``. It needs Linux and a C compiler.
"""

import argparse
import ctypes
import datetime
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from benchmarks.corruptions import Answer, command
from benchmarks.kills import RESULTS, add_row, result

TINY = "--latents 2 --hidden 8 --batch-size 256 --samples 1"
TRAINED = f"train {TINY} --epochs 1"


class Subject(NamedTuple):
    """A command that is killed.

    Attributes:
        line: its words; ``OUT`` is where it writes.
        before: commands that are run beforehand.
        heeds: whether it heeds SIGTERM.
    """

    line: str
    before: tuple[str, ...] = ()
    heeds: bool = False


RUN = (f"{TRAINED} --out run",)
STUDY = f"{TINY} --epochs 1 --parameterization log_variance log_std --learning-rate 0.01 --seed 0 --constraint none"
SUBJECTS = {
    "train": Subject(f"train {TINY} --epochs 2 --evaluate-every 1 --resume --out OUT", heeds=True),
    "compare": Subject(f"compare {STUDY} --out OUT", heeds=True),
    "compare --shard": Subject(f"compare {STUDY} --shard 1/2 --out OUT", heeds=True),
    "compare --merge": Subject("compare --merge study --out OUT", (f"compare {STUDY} --out study",)),
    "reproduce": Subject("reproduce iwae-1l --rows vae-1 --samples 1 --out OUT", heeds=True),
    "evaluate": Subject("evaluate run --samples 1", RUN),
    "encode": Subject("encode run --out OUT.npz", RUN),
    "decode": Subject("decode run --latents z.npy --out OUT", RUN),
    "score": Subject("score run --samples 1 --out OUT.csv", RUN),
    "impute": Subject(
        "impute run --samples 1 --draws 2 --out OUT.csv", (f"{TRAINED} --dataset holes.npz --batch-size 16 --out run",)
    ),
    "sample": Subject("sample run --count 4 --out OUT.png", RUN),
    "reconstruct": Subject("reconstruct run --count 4 --out OUT.png", RUN),
    "traverse": Subject("traverse run --latents 1 --steps 2 --out OUT.png", RUN),
    "export": Subject("export run --out OUT", RUN),
    "export --format stablehlo": Subject("export run --format stablehlo --out OUT", RUN),
    "diagnose": Subject("diagnose run", RUN),
    "explain": Subject("explain log_variance --out OUT"),
    "data inspect": Subject("data inspect digits --out OUT.png"),
}
FINAL = ("metrics.jsonl", ".lock")
"""Files that are written under their own name: a log, of which a last line that was cut off is not read; and locks."""
PATIENCE = 600
"""Seconds after which a command is taken for one that hangs, and is killed; a tiny one takes ten."""
TIMES = ("seconds", "examples_per_second", "digest", "minutes")
"""What differs from run to run, in JSON."""


class Stop(NamedTuple):
    """A call before which, or in the midst of which, a process is halted."""

    call: str
    path: str


class Tracer:
    """Runs commands in forks of this process, which are halted at each call; JAX must not have started here."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))

    def run(self, line: str, folder: Path, visit: Callable[[int, Stop, int], None]) -> Answer:
        """Runs a command in a folder; ``visit`` is called with the process, the call and its number, at each."""
        log = folder.with_name(f"{folder.name}.calls")
        log.write_text("")
        child = self._begin(line, folder, log)
        number = 0
        while True:
            _, status = os.waitpid(child, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                return self._end(folder, status)
            call, path = log.read_text().splitlines()[-1].split(" ", 2)[1:]
            number += 1
            visit(child, Stop(call, os.path.relpath(path, folder)), number)
            os.kill(child, signal.SIGCONT)

    def fail(self, line: str, folder: Path, call: int, error: int) -> Answer:
        """Runs a command in a folder in which nothing can grow from a call on."""
        child = self._begin(line, folder, Path(os.devnull), call, error)
        return self._end(folder, os.waitpid(child, 0)[1])

    def _begin(self, line: str, folder: Path, log: Path, *failing: int) -> int:
        errors = folder.with_name(f"errors-{folder.name}")
        errors.write_text("")
        child = os.fork()
        if not child:
            signal.alarm(PATIENCE)
            self._library.watch(str(folder).encode(), str(log).encode())
            if failing:
                self._library.fail_from(*failing)
            answer = answered(line, folder)
            errors.write_text("\n".join(answer.errors))
            os._exit(answer.status)
        return child

    def _end(self, folder: Path, status: int) -> Answer:
        errors = folder.with_name(f"errors-{folder.name}").read_text().splitlines()
        return Answer(os.waitstatus_to_exitcode(status), errors)


def prepared(before: tuple[str, ...], root: Path) -> Path:
    """The folder in which these commands were run, each in a process of its own."""
    folder = root / hashlib.sha256(repr(before).encode()).hexdigest()
    if not folder.exists():
        folder.mkdir()
        _make_inputs(folder)
        for line in before:
            child = os.fork()
            if not child:
                answer = answered(line, folder)
                print(*answer.errors, sep="\n", file=sys.stderr, flush=True)
                os._exit(answer.status)
            _, status = os.waitpid(child, 0)
            assert status == 0, line
    return folder


def answered(line: str, folder: Path) -> Answer:
    """Runs a command in this process."""
    from jaxvae import process
    from jaxvae.study import presets

    process.speak_in_lines()
    words = [str(folder / word.replace("OUT", "out")) if "OUT" in word else word for word in line.split()]
    tiny = presets.Preset(
        "a table",
        "all",
        {"epochs": 2, "latents": 2, "hidden": (8,)},
        {"vae-1": presets.PublishedRow({}, 1.0)},
        "log_std",
    )
    os.chdir(folder)
    with mock.patch.object(presets, "PRESETS", {"iwae-1l": lambda: tiny}):
        return command(*words)


def tree(folder: Path) -> dict[str, bytes]:
    """The files of a folder, and folders, with digests of what is in them."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = re.sub(r"\.[0-9a-f]{16}(?=/|$)", ".*", str(path.relative_to(folder)))
        found[name] = hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b""
    return found


def _timeless(x: Any) -> Any:
    if isinstance(x, dict):
        return {name: _timeless(value) for name, value in x.items() if name not in TIMES}
    return [*map(_timeless, x)] if isinstance(x, list) else x


def ended(folder: Path) -> dict[str, Any]:
    """What a command left, but for times; of a run's checkpoints the last state."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if "checkpoints/" in name:
            continue
        if path.name == "checkpoints":
            steps = sorted(other.name for other in path.iterdir())
            found[name] = steps, *result("train", path.parent)
        elif path.suffix in (".json", ".jsonl"):
            texts = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
            found[name] = [_timeless(json.loads(text)) for text in texts]
        else:
            found[name] = path.read_bytes() if path.is_file() else b""
    return found


class Trace(NamedTuple):
    """What was found by running a command once.

    Attributes:
        stops: at which it can be killed.
        states: folders as they were there, each once, with the first of the stops.
        terminated: folders that SIGTERM left, with the stop and the exit status.
        whole: the folder in which it ended.
    """

    stops: list[Stop]
    states: list[tuple[Stop, Path]]
    terminated: list[tuple[Stop, Path, int]]
    whole: Path


def trace(tracer: Tracer, subject: Subject, folder: Path, terminations: int) -> Trace:
    """Runs a command once, halted at each call, and some times more to be sent SIGTERM."""
    stops: list[Stop] = []
    states: dict[str, tuple[Stop, Path]] = {}
    fresh, whole = prepared(subject.before, folder.parent), folder / "work"

    def keep(child: int, stop: Stop, number: int) -> None:
        stops.append(stop)
        found = repr(tree(whole))
        if found not in states:
            states[found] = stop, folder / f"state-{number}"
            shutil.copytree(whole, states[found][1], symlinks=True)

    shutil.copytree(fresh, whole)
    answer = tracer.run(subject.line, whole, keep)
    assert answer.status == 0, answer
    terminated = []
    for i in range(terminations if subject.heeds else 0):
        wanted = 1 + i * len(stops) // terminations
        left = folder / f"terminated-{wanted}"
        shutil.copytree(fresh, left)

        def terminate(child: int, stop: Stop, number: int, wanted: int = wanted) -> None:
            if number == wanted:
                os.kill(child, signal.SIGTERM)

        status = tracer.run(subject.line, left, terminate).status
        terminated.append((stops[wanted - 1], left, status))
    return Trace(stops, [*states.values()], terminated, whole)


def _make_inputs(folder: Path) -> None:
    """Latents, and images with holes."""
    import numpy as np

    draw = np.random.default_rng(0)
    np.save(folder / "z.npy", draw.normal(size=(2, 2)).astype(np.float32))
    x = draw.random((40, 4, 4))
    np.savez(folder / "holes.npz", x=x, mask=x < 0.1)


def differing(now: dict[str, Any], wanted: dict[str, Any], stable: set[str]) -> set[str]:
    """The files that only one of two folders has, as ``ended`` looks at them, and the stable ones that differ."""
    return set(now) ^ set(wanted) | {file for file in stable if now.get(file) != wanted[file]}


def survive(subject: Subject, found: Trace, every: int = 1) -> dict[str, Any]:
    """Runs a command again from each state, and compares how it ends with a run that was left alone."""
    failures: list[str] = []
    stable: set[str] | None = None
    wanted = ended(found.whole)
    cases = [(f"killed before {stop.call} {stop.path}", path) for stop, path in found.states[::every]]
    cases += [(f"SIGTERM at {stop.call} {stop.path}, {status}", path) for stop, path, status in found.terminated]
    for name, path in cases:
        answer = answered(subject.line, path)
        now = ended(path) if answer.status == 0 else {}
        if stable is None:  # from the first, which nothing had been written in: those that have no times in them
            stable = {file for file in wanted if now.get(file) == wanted[file]}
        others = differing(now, wanted, stable)
        if answer.status or others:
            failures.append(f"{name}: {answer.errors[-1:] if answer.status else sorted(others)[:5]}")
            print(failures[-1], flush=True)
        shutil.rmtree(path)
    in_place = {stop.path for stop in found.stops if stop.call == "half" and not _is_aside(stop.path)}
    failures += [f"written under its own name: {path}" for path in sorted(in_place)]
    return {
        "calls": len(found.stops),
        "by_call": dict(Counter(stop.call for stop in found.stops)),
        "states": len(found.states[::every]),
        "terminated": len(found.terminated),
        "statuses": dict(Counter(str(status) for _, _, status in found.terminated)),
        "files_compared": len(stable or ()),
        "failures": failures,
    }


def _is_aside(path: str) -> bool:
    """Whether a file is not yet under its own name, or one of ``FINAL``."""
    names = Path(path).parts
    partial = any(re.fullmatch(r"\..+\.[0-9a-f]{16}", name) or "orbax-checkpoint-tmp" in name for name in names)
    return partial or names[-1].startswith(FINAL)


def loaded_first(module: str) -> Tracer:
    """The library, before libc; without it there, starts the module again with it, on one device."""
    if (loaded := os.environ.get("LD_PRELOAD", "")).endswith("stopping.so"):
        import matplotlib.figure  # noqa: F401, loaded once for all
        import orbax.checkpoint  # noqa: F401

        import jaxvae.study
        import jaxvae.trained  # noqa: F401

        assert len(os.listdir("/proc/self/task")) == 1, "a fork would lack threads"
        return Tracer(Path(loaded))
    folder = Path(tempfile.mkdtemp(prefix="kill-points-"))
    library, source = folder / "stopping.so", Path(__file__).with_name("stopping.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    one = "--xla_force_host_platform_device_count=1"
    environment = {
        **os.environ,
        "LD_PRELOAD": str(library),
        "JAX_PLATFORMS": "cpu",
        "OPENBLAS_NUM_THREADS": "1",  # whose threads a fork would not have
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {one}".strip(),
    }
    status = subprocess.run([sys.executable, "-m", module, *sys.argv[1:]], env=environment).returncode
    shutil.rmtree(folder)
    sys.exit(status)


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", choices=[[], *SUBJECTS], nargs="*", metavar="COMMAND", help=", ".join(SUBJECTS))
    parser.add_argument("--every", type=int, default=1, help="of the states, only every so many")
    parser.add_argument("--terminations", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS / "kill_points.json")
    args = parser.parse_args()
    chosen = args.subjects or [*SUBJECTS]
    tracer, traces, bad = loaded_first("benchmarks.kill_points"), {}, False
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            traces[name] = trace(tracer, SUBJECTS[name], Path(folder) / name.replace(" ", ""), args.terminations)
            print(f"{name}: {len(traces[name].stops)} calls, {len(traces[name].states)} states", flush=True)
        for name in chosen:
            row = survive(SUBJECTS[name], traces[name], args.every)
            print(name, row, flush=True)
            line = f"python -m benchmarks.kill_points '{name}' --terminations {args.terminations}"
            line += f" --every {args.every}" if args.every != 1 else ""
            add_row(args.out, {"date": datetime.date.today().isoformat(), "command": line, "of": name, **row})
            bad = bad or bool(row["failures"])
        os.chdir("/")
    if bad:
        sys.exit("a command that was killed ended otherwise than one that wasn't")


if __name__ == "__main__":
    main()
