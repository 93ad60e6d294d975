"""Damages the files of a run and uses it all the same: is it found out, or is the result what it would have been?

``python -m benchmarks.corruptions`` damages a file of a run or a study's table 300 times (a flipped bit; cut off,
emptied or gone), scores what is left by ``jaxvae evaluate``, goes on with it by ``jaxvae train --resume`` or
``jaxvae compare``, and writes ``benchmarks/results/corruptions.json``.
"""

import argparse
import contextlib
import datetime
import io
import json
import logging
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import kills
from jaxvae import cli

FLAGS = "--latents 2 --hidden 8 --batch-size 80 --epochs 4 --samples 1"
STUDY = f"{FLAGS} --epochs 1 --parameterization log_variance log_std --learning-rate 0.01 --seed 0 --constraint none"
DAMAGES = ("flipped", "cut", "emptied", "gone")
ENDS = ("as undamaged", "refused in one line")


class Answer(NamedTuple):
    """What a command answered: its status, and the lines that it wrote to stderr."""

    status: int
    errors: list[str]


def command(*argv: str) -> Answer:
    """Runs a command in this process."""
    errors, logger = io.StringIO(), logging.getLogger("jaxvae")
    handler = logging.StreamHandler(errors)
    logger.addHandler(handler)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            status = cli.main(argv)
    finally:
        logger.removeHandler(handler)
    return Answer(status, errors.getvalue().splitlines())


def damage(path: Path, how: str, chance: random.Random) -> None:
    """Flips a bit of a file, cuts it off somewhere, empties it, or removes it."""
    data = bytearray(path.read_bytes())
    if how == "flipped" and data:
        bit = chance.randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
    elif how == "cut":
        del data[chance.randrange(len(data) or 1) :]
    elif how == "emptied":
        data.clear()
    path.write_bytes(data)
    if how == "gone":
        path.unlink()


def verdict(answer: Answer, right: bool) -> str:
    """What became of damage: one of ``ENDS``, or what must not be."""
    if any("Traceback" in line for line in answer.errors):
        return "a traceback"
    if answer.status == 0:
        return ENDS[0] if right else "another result"
    refused = [line for line in answer.errors if line.startswith("jaxvae: error: ")]
    return ENDS[1] if answer.status == 2 and len(refused) == 1 else f"status {answer.status}"


class Run:
    """A run that was stopped before its last epoch, what it scores, and how it would have ended."""

    def __init__(self, folder: Path) -> None:
        self._whole, self._copy = folder / "whole", folder / "copy"
        shutil.copytree(folder / "half", self._whole)
        self._half = folder / "half"
        assert command("train", "--resume", "--out", str(self._whole)).status == 0
        self._wanted = kills.result("train", self._whole)
        assert command("evaluate", str(self._half), "--samples", "1").status == 0
        self._score = (self._half / "evaluation-test.json").read_bytes()
        (self._half / "evaluation-test.json").unlink()
        self.files = sorted(path.relative_to(self._half) for path in self._half.rglob("*") if path.is_file())

    def uses(self, file: Path, how: str, chance: random.Random) -> dict[str, str]:
        """What becomes of a damaged copy, by command."""
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self._half, self._copy)
        damage(self._copy / file, how, chance)
        scored = command("evaluate", str(self._copy), "--samples", "1")
        score = self._copy / "evaluation-test.json"
        ends = {"evaluate": verdict(scored, score.exists() and score.read_bytes() == self._score)}
        score.unlink(missing_ok=True)
        resumed = command("train", "--resume", "--out", str(self._copy))
        right = resumed.status == 0 and (
            kills.result("train", self._copy) == self._wanted or self._warned(resumed, file)
        )
        return {**ends, "train --resume": verdict(resumed, right)}

    def _warned(self, answer: Answer, file: Path) -> bool:
        """Epochs that a damaged log has lost are said to be; all else is as it was."""
        state = kills.result("train", self._copy)[0] == self._wanted[0]
        return file.name == "metrics.jsonl" and state and any("lacks" in line for line in answer.errors)


def half_a_run(folder: Path) -> Path:
    """A run of four epochs, stopped after three; with two checkpoints."""
    from jaxvae import training

    out = folder / "half"
    config = training.config_from_mapping(
        {"latents": 2, "hidden": (8,), "batch_size": 80, "epochs": 4, "evaluate_every": 1, "samples": 1}
    )
    asked = iter(range(100))
    assert not training.train(training.make_experiment(config), out, stop=lambda: next(asked) == 2)
    return out


def study_table(folder: Path, how: str, chance: random.Random, whole: Path) -> str:
    """What becomes of a study whose table is damaged, when it is asked for again."""
    out = folder / "study-copy"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(whole, out)
    damage(out / "results.jsonl", how, chance)
    answer = command("compare", *STUDY.split(), "--out", str(out))
    return verdict(answer, answer.status == 0 and kills.result("compare", out) == kills.result("compare", whole))


def survive(times: int, tables: int, seed: int = 0) -> dict[str, Any]:
    """Damages a run so many times, file after file, and a study's table; answers with what became of it."""
    chance, found, failures = random.Random(seed), Counter[str](), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        half_a_run(folder)
        run = Run(folder)
        for number in range(times):
            file, how = run.files[number % len(run.files)], chance.choice(DAMAGES)
            for use, end in run.uses(file, how, chance).items():
                found[f"{use}: {end}"] += 1
                if end not in ENDS:
                    failures.append(f"{file} {how}, {use}: {end}")
                    print(failures[-1], flush=True)
        if tables:
            whole = folder / "study"
            assert command("compare", *STUDY.split(), "--out", str(whole)).status == 0
            for _ in range(tables):
                how = chance.choice(("cut", "emptied", "gone"))  # a digit that flips can't be told from another
                end = study_table(folder, how, chance, whole)
                found[f"compare: {end}"] += 1
                if end not in ENDS:
                    failures.append(f"results.jsonl {how}, compare: {end}")
    return {"damaged": times + tables, "files": len(run.files), "ends": dict(found), "failures": failures}


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=280)
    parser.add_argument("--tables", type=int, default=20)
    parser.add_argument("--out", type=Path, default=kills.RESULTS / "corruptions.json")
    args = parser.parse_args()
    row = survive(args.times, args.tables)
    command_line = f"python -m benchmarks.corruptions --times {args.times} --tables {args.tables}"
    report = {"date": datetime.date.today().isoformat(), "command": command_line, **row}
    print(json.dumps(report, indent=1))
    args.out.write_text(json.dumps(report, indent=1) + "\n")
    if row["failures"]:
        sys.exit(f"{len(row['failures'])} times damage led to what must not be")


if __name__ == "__main__":
    main()
