"""Throws bad input at every public function, configuration, data file and command: does each keep its promise?

``python -m benchmarks.fuzz --inputs 10000`` draws what ``tests/fuzz`` draws, that many in all, prints a line per
property and writes ``benchmarks/results/fuzz.json``. Where a property is broken it shows the smallest input that it
found, and ends with status 1. The promises: the documented shape and dtype, or a ValueError or TypeError that names
the argument; a command line's status 0, 2 or 130, for 2 with one line on stderr; nothing unpickled, and nothing
written where the input is refused.
"""

import argparse
import contextlib
import datetime
import functools
import importlib
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1] / "tests" / "fuzz"
RESULTS = Path(__file__).parent / "results"


def properties() -> list[Any]:
    """All properties of the tests."""
    sys.path.insert(0, str(TESTS))
    for file in sorted(TESTS.glob("test_*.py")):
        importlib.import_module(file.stem)
    return importlib.import_module("strategies").PROPERTIES


def measure(found: Any, examples: int) -> dict[str, Any]:
    """Inputs, seconds, and the failure, if any, of one property."""
    inputs = 0

    @functools.wraps(found.test)
    def counted(*arguments: Any, **named: Any) -> None:
        nonlocal inputs
        inputs += 1
        found.test(*arguments, **named)

    began, failure = time.process_time(), None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found._replace(test=counted).drawn_often(examples)()
    except BaseExceptionGroup as errors:  # several different ones
        failure = "\n".join(map(_shown, errors.exceptions))
    except Exception as error:
        failure = _shown(error)
    module, name = found.test.__module__.removeprefix("test_bad_"), found.test.__name__.removeprefix("test_")
    seconds = round(time.process_time() - began, 1)
    return {"of": module, "property": name, "inputs": inputs, "cpu_seconds": seconds, "failure": failure}


def _shown(error: BaseException) -> str:
    """The error, and hypothesis' note on the input."""
    return "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])])


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--inputs", type=int, default=10_000, help="about how many in all")
    parser.add_argument("--out", type=Path, default=RESULTS / "fuzz.json")
    args = parser.parse_args()
    import jax

    jax.config.update("jax_numpy_rank_promotion", "raise")
    everything = properties()
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
        "command": f"python -m benchmarks.fuzz --inputs {args.inputs}",
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
