"""Command lines: status 0, 2 or 130; for 2 one line on stderr, and the folder as it was. Training is left out."""

import contextlib
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import strategies as st
from strategies import broken, fuzz

from jaxvae.cli import main
from jaxvae.parameterizations import PARAMETERIZATIONS
from jaxvae.study import DEFAULT
from jaxvae.training import TrainConfig
from jaxvae.training.devices import one_device

FIELDS = {field.name: field for field in dataclasses.fields(TrainConfig)}
CONFIG = TrainConfig(epochs=1, latents=2, hidden=(3,)).to_json()
STUDY = json.dumps({"widths": {}, "grid": {**{name: list(x) for name, x in DEFAULT.items()}, "hidden": [[3]]}})


class Left(KeyboardInterrupt):
    """In the place of training."""


@contextlib.contextmanager
def folder(files: dict[str, bytes]) -> Iterator[Path]:
    """A new working directory of these files; what would train, download or join others ends there."""
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name), contextlib.ExitStack() as stack:
        for file, content in files.items():
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).write_bytes(content)
        stack.enter_context(mock.patch.dict(os.environ, {"TFDS_DATA_DIR": f"{name}/prepared"}))
        for place, error in {
            "jaxvae.training.run.Checkpoints": Left(),
            "jaxvae.study.comparison._compiled_ahead": Left(),
            "jaxvae.data.builders._builder": FileNotFoundError("no connection"),
            "jax.distributed.initialize": ValueError("coordinator_address should be defined."),
            "jaxvae.process.use_compilation_cache": None,
        }.items():
            stack.enter_context(mock.patch(place, side_effect=error))
        stack.enter_context(mock.patch("jaxvae.training.experiment.data_mesh", return_value=one_device()))
        yield Path(name)


def run(argv: Sequence[str], files: dict[str, bytes]) -> tuple[int, str]:
    """Status and stderr."""
    err = io.StringIO()
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with folder(files) as path, contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        before = content(path)
        try:
            status = main(list(argv))
        except SystemExit as ended:  # --help and --version
            status = int(ended.code or 0)
        after = content(path)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert status in (0, 2, 130)
    text = err.getvalue()
    if status == 2:
        assert text.startswith("jaxvae: error: "), text
        assert len(text.splitlines()) == 1, text
        assert after == before, set(after) ^ set(before)
    return status, text


def content(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() if file.is_file() else b"" for file in path.rglob("*")}


WORDS = st.one_of(
    st.sampled_from(
        ("", "-", "--", "x", "0", "-1", "1e999", "nan", "inf", "2", "0.5", "9" * 30, "9" * 5000, "true", "größe")
    ),
    st.sampled_from(
        ("\udcff", "a b", "a\nb", "\x1b[31m", "~no-one/x", "..", "/dev/null", "a" * 300, "x/y/z", "%s", "{}")
    ),
    st.sampled_from(
        ("digits", "linear-gaussian", "mnist", "test", "run", "broken", "study", "config.json", "images.npy")
    ),
    st.sampled_from(tuple(PARAMETERIZATIONS)),
    st.text(max_size=4).filter(lambda text: "\0" not in text),
)
FLAGS = st.sampled_from(
    ("--out", "--config", "--resume", "--quick", "--merge", "--help", "--version", "--names", "--from")
)
MORE = st.sampled_from(
    ("--data-dir", "--samples", "--split", "--count", "--seed", "--steps", "--reach", "--rows", "--stages")
)
FIELD = st.sampled_from(tuple("--" + name.replace("_", "-") for name in FIELDS))
COMMANDS = st.sampled_from(
    (
        *(
            ("train",),
            ("compare",),
            ("reproduce",),
            ("reproduce", "iwae-1l"),
            ("evaluate",),
            ("sample",),
            ("reconstruct",),
        ),
        *(
            ("traverse",),
            ("diagnose",),
            ("explain",),
            ("list",),
            ("data",),
            ("data", "list"),
            ("data", "prepare"),
            (),
            ("nonsense",),
        ),
    )
)
LINES = st.tuples(
    COMMANDS,
    st.lists(st.tuples(FLAGS | MORE | FIELD, st.lists(WORDS, max_size=2)) | st.tuples(WORDS, st.just([])), max_size=4),
).map(lambda line: [*line[0], *(word for flag, words in line[1] for word in (flag, *words))])

CHOSEN = st.sampled_from(
    tuple(
        ("--" + name.replace("_", "-"), str(value))
        for name, field in FIELDS.items()
        for value in (*field.metadata["choices"], *(() if field.default is None else (field.default, 0, -1, 3, 2**31)))
        if not isinstance(value, tuple)
    )
)
RUNS = st.lists(CHOSEN, max_size=3).map(lambda flags: ["train", *(word for flag in flags for word in flag)])

AROUND = {
    "run/config.json": CONFIG.encode(),
    "broken/config.json": b'{"latents": ',
    "study/study.json": STUDY.encode(),
    "config.json": b'{"latents": 3, "hidden": [4]}',
    "images.npy": b"no images",
}


def harmless(argv: Sequence[str]) -> bool:
    """Neither draws pictures, which takes seconds, nor writes beyond the folder."""
    return "explain" not in argv[:1] or any(word.startswith("-") for word in argv)


@fuzz(LINES.filter(harmless))
def test_command_lines(argv: list[str]) -> None:
    run(argv, AROUND)


@fuzz(RUNS, examples=8, share=1)
def test_trainings_begin_or_leave_nothing(argv: list[str]) -> None:
    run(argv, AROUND)


COMMAND_OF = {
    "config.json": ["train", "--config", "config.json"],
    "run/config.json": ["evaluate", "run"],
    "again/config.json": ["train", "--resume", "--out", "again"],
    "study/study.json": ["compare", "--out", "study"],
    "table/results.jsonl": ["compare", "--merge", "table", "--out", "merged"],
    "set/images.npy": ["train", "--dataset", "set/images.npy"],
}
ORIGINALS = {"study/study.json": STUDY.encode()}


@fuzz(
    st.sampled_from(tuple(COMMAND_OF)).flatmap(
        lambda name: st.tuples(st.just(name), broken((ORIGINALS.get(name, CONFIG.encode()), b"[[[]]]", b'{"a": 3}\n')))
    )
)
def test_broken_files(drawn: tuple[str, bytes]) -> None:
    name, found = drawn
    run(COMMAND_OF[name], {name: found})


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (("train", "--config", "deep.json"), "deep.json"),
        (("train", "--dataset", "~no-one/x.npy"), "~no-one"),
        (("data", "list", "--data-dir", "~no-one"), "~no-one"),
        (("train", "--beta", "-1"), "beta"),
        (("train", "--latents", "9" * 5000), "latents"),
        (("train", "--blocks", "1000000000"), "blocks"),
        (("train", "--epochs", str(2**31 - 1)), "epochs"),
        (("train", "--hidden", "0"), "hidden"),
        (("train", "--distributed"), "--out"),
        (("train", "--out", "config.json"), "config.json"),
        (("evaluate", "nowhere"), "nowhere"),
    ],
)
def test_refusals_that_were_something_else(argv: tuple[str, ...], word: str) -> None:
    status, text = run(argv, {**AROUND, "deep.json": b"[" * 100_000})
    assert status == 2
    assert word in text


def test_a_process_shows_one_line(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_bytes(b"[" * 100_000)
    command = [sys.executable, "-m", "jaxvae", "train", "--config", "deep.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"jaxvae: error: ")
    assert done.stderr.count(b"\n") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["deep.json"]
