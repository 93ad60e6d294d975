"""Measures this library beside its peers on this machine, and writes the tables of RESULTS.md.

    python -m benchmarks [NAME ...] [--quick] [--tables]

Each script runs in a process of its own, one after the other; on a CPU all take a quarter of an hour. What each leaves
in ``benchmarks/results/`` is one file for each sort of device; the tables are made of all of these, so that those of
other machines stay as they are.
"""

import argparse
import importlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import harness

SCRIPTS = ("accuracy", "price", "kernels", "train_step", "sweep", "scaling")
PAGE = Path(__file__).parent / "RESULTS.md"


def section(name: str, reports: Sequence[harness.Report]) -> str:
    """The tables of all reports of a script, each with its command, date and machine, and its picture."""
    script = importlib.import_module(f"benchmarks.{name}")
    parts = []
    for report in reports:
        parts.append(origin(report))
        parts += [harness.markdown(table) for table in script.tables(report)]
        stem = f"{name}-{harness.slug(report['device'])}"
        parts.append(f"![{name} on {report['device']}](results/{stem}.png) Raw: `benchmarks/results/{stem}.json`.")
    return "\n\n".join(parts)


def origin(report: harness.Report) -> str:
    """Command, date, versions and machine, in a line."""
    packages = [f"{package} {report[package]}" for package in harness.PACKAGES if report[package]]
    machine = f"{report['cpu']}, {report['cores']} cores"
    machine = f"CPU ({machine})" if report["device"] == "cpu" else f"{report['device']} ({machine})"
    return f"`{report['command']}` · {report['date']} · {machine} · Python {report['python']}, {', '.join(packages)}"


def rewritten(page: str, sections: dict[str, str]) -> str:
    """The page with each section between its marks, ``<!-- name -->`` and ``<!-- /name -->``.

    Raises:
        ValueError: for marks that aren't there.
    """
    for name, text in sections.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if page.count(start) != 1 or page.count(end) != 1:
            raise ValueError(f"the page must have {start.strip()} and {end} once each")
        before, rest = page.split(start)
        page = f"{before}{start}\n{text}\n\n{end}{rest.split(end)[1]}"
    return page


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SCRIPTS)}; all if not given")
    parser.add_argument("--quick", action="store_true", help="only to see that all run; the results are thrown away")
    parser.add_argument("--tables", action="store_true", help="only writes the tables anew")
    options: Any = parser.parse_args()
    names = options.names or list(SCRIPTS)
    unknown = sorted(set(names) - set(SCRIPTS))
    if unknown:
        parser.error(f"NAME must be one of {', '.join(SCRIPTS)}, got {', '.join(unknown)}")
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for name in () if options.tables else names:
            started = time.perf_counter()
            flags = ["--quick", "--out", f"{folder}/{name}.json"] if options.quick else []
            ended = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *flags], check=False)
            print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
            failed += [name] if ended.returncode else []
    if not options.quick:
        PAGE.write_text(rewritten(PAGE.read_text(), {name: section(name, harness.reports(name)) for name in SCRIPTS}))
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
