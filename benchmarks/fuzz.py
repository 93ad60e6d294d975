"""Throws bad input at every public function, configuration, file that is read and command: does each keep its promise?

``python -m benchmarks.fuzz --inputs 115000`` draws what ``tests/fuzz`` draws, that many in all, prints a line per
property and writes ``benchmarks/results/fuzz.json``; ``--of files`` draws what is in ``test_bad_files.py`` alone. Where
a property is broken it shows the smallest input that it found, and ends with status 1. The promises: the documented
shape and dtype, or a ValueError or TypeError that names the argument; of a file the right result, or a ValueError or
OSError that names it; a command line's status 0, 2 or 130, for 2 with one line on stderr; nothing unpickled, nothing
written where the input is refused; and an answer within seconds, and within some GiB of memory.
"""

import argparse
import contextlib
import datetime
import functools
import importlib
import json
import resource
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1] / "tests" / "fuzz"
RESULTS = Path(__file__).parent / "results"


SECONDS, MEMORY = 60, 8 << 30
"""That one input may take; address space that the process may have more than at its start."""


class UnansweredError(Exception):
    """An input that isn't answered."""


def properties(of: Sequence[str] = ()) -> list[Any]:
    """All properties of the tests, or those of some modules."""
    sys.path.insert(0, str(TESTS))
    for file in sorted(TESTS.glob("test_*.py")):
        importlib.import_module(file.stem)
    found = importlib.import_module("strategies").PROPERTIES
    return [one for one in found if not of or _module(one) in of]


def _module(found: Any) -> str:
    return found.test.__module__.removeprefix("test_bad_")


def _limit() -> None:
    """Has what hangs or fills the memory raise an error of its own."""

    def hang(number: int, frame: object) -> None:
        raise UnansweredError(f"no answer within {SECONDS} s")

    signal.signal(signal.SIGALRM, hang)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))


def measure(found: Any, examples: int) -> dict[str, Any]:
    """Inputs, seconds, and the failure, if any, of one property."""
    inputs = 0

    @functools.wraps(found.test)
    def counted(*arguments: Any, **named: Any) -> None:
        nonlocal inputs
        inputs += 1
        signal.alarm(SECONDS)
        found.test(*arguments, **named)
        signal.alarm(0)

    began, failure = time.process_time(), None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found._replace(test=counted).drawn_often(examples)()
    except BaseExceptionGroup as errors:  # several different ones
        failure = "\n".join(map(_shown, errors.exceptions))
    except Exception as error:
        failure = _shown(error)
    signal.alarm(0)
    module, name = _module(found), found.test.__name__.removeprefix("test_")
    seconds = round(time.process_time() - began, 1)
    return {"of": module, "property": name, "inputs": inputs, "cpu_seconds": seconds, "failure": failure}


def _shown(error: BaseException) -> str:
    """The error, and hypothesis' note on the input."""
    return "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])])


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--inputs", type=int, default=115_000, help="about how many in all")
    parser.add_argument(
        "--of", nargs="+", default=[], metavar="MODULE", help="archives, configs, files, functions, ..."
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "fuzz.json")
    args = parser.parse_args()
    import jax

    jax.config.update("jax_numpy_rank_promotion", "raise")
    everything = properties(args.of)
    jax.block_until_ready(jax.numpy.zeros(1))  # whose threads are there before memory is limited
    _limit()
    times = args.inputs / sum(found.share for found in everything)
    rows = []
    for found in everything:
        with contextlib.redirect_stderr(sys.stdout):
            rows.append(row := measure(found, round(found.share * times) + 1))
        print("{of:14} {property:52} {inputs:7,} {cpu_seconds:7.1f} s".format(**row), flush=True)
        if row["failure"]:
            print(row["failure"], flush=True)
    total = sum(row["inputs"] for row in rows)
    failures = [row for row in rows if row["failure"]]
    report = {
        "date": datetime.date.today().isoformat(),
        "command": " ".join(["python -m benchmarks.fuzz", *sys.argv[1:]]),
        "inputs": total,
        "cpu_seconds": round(sum(row["cpu_seconds"] for row in rows), 1),
        "failures": len(failures),
    }
    print(report)
    lines = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in rows)
    args.out.write_text(json.dumps(report, indent=1)[:-2] + f',\n "rows": [\n{lines}\n ]\n}}\n')
    if failures:
        sys.exit(f"{len(failures)} properties are broken")


if __name__ == "__main__":
    main()
