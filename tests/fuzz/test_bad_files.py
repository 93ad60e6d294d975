"""Damaged files of every kind: the right result, or a ValueError or OSError in one line that names the file.

``corpus/whole`` has one of each kind, from which inputs are drawn; ``corpus/broken`` has, by kind, the smallest ones
that were answered otherwise once, which are tried in each run.
"""

import contextlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from strategies import JSON, NUMBERS, broken, fuzz

from jaxvae import data, study, training
from jaxvae.data import cache, prepared, raw, records, tables
from jaxvae.data.unsplit import load_labels, load_unsplit
from jaxvae.interop import load_safetensors, safetensors_metadata
from jaxvae.study import reproduction
from jaxvae.trained import exports
from jaxvae.trained.tables import read_latents
from jaxvae.training import checkpoint, read_config
from jaxvae.training.directory import RunDirectory, made_otherwise, read_contract

CORPUS = Path(__file__).parent / "corpus"
WHOLE = {path.name: path.read_bytes() for path in sorted((CORPUS / "whole").iterdir())}
KEPT = ("contract.json", "data.json", "mean.npy")


def contract() -> Any:
    return read_contract(CORPUS / "whole/contract.json")


def scores(path: Path) -> str:
    """What a model's card says of a run's scores."""
    model = SimpleNamespace(contract=contract(), step=5)
    return exports._scores(SimpleNamespace(model=model, directory=RunDirectory(path.parent)))  # type: ignore[arg-type]


def idx(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        return raw.idx(file, str(path))


READ: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "config.json": ("config.json", read_config),
    "contract.json": ("contract.json", lambda path: RunDirectory(path.parent).kept()),
    "data.json": ("data.json", lambda path: RunDirectory(path.parent).kept()),
    "mean.npy": ("mean.npy", lambda path: RunDirectory(path.parent).kept()),
    "versions.json": ("versions.json", lambda path: made_otherwise(RunDirectory(path.parent).report("versions"), path)),
    "metrics.jsonl": ("metrics.jsonl", training.read_metrics),
    "evaluation-test.json": ("evaluation-test.json", scores),
    "reproduction.json": ("evaluation-test.json", lambda path: reproduction.result(path.parent)),
    "results.jsonl": ("results.jsonl", study.read_results),
    "study.json": ("study.json", lambda path: (study.read_grid(path.parent), study.read_baseline(path.parent))),
    "digests.json": ("digests.json", lambda path: checkpoint._damage(path.parent)),
    "model.safetensors": ("model.safetensors", lambda path: (load_safetensors(path), safetensors_metadata(path))),
    "latents.npz": ("latents.npz", read_latents),
    "labels.npy": ("labels.npy", lambda path: load_labels(path, 4)),
    "unsplit.npy": ("labels.npy", lambda path: load_unsplit(path, contract())),
    "images.idx": ("images.idx", idx),
    "records.tfrecord": ("images.idx", lambda path: [*records._tfrecord(path)]),
    "contents.json": ("contents.json", lambda path: prepared._kept(path.parent)),
    "0f.json": ("kinds.json", lambda path: cache._found(path.parent, "0f")),
    "kinds.toml": ("kinds.toml", tables.read_kinds),
    "kinds.json": ("kinds.json", tables.read_kinds),
    "table.csv": ("table.csv", data.load),
    "table.tsv": ("table.tsv", data.load),
    "table.csv.gz": ("table.csv.gz", data.load),
    "table.parquet": ("table.parquet", data.load),
    "sparse.npz": ("sparse.npz", data.load),
}
"""By the name of a file, the one of ``corpus/whole`` that it is like, and what reads it."""


def attempt(kind: str, content: bytes) -> Exception | None:
    """Reads a file of a folder that has what goes with it; nothing but this error is let through."""
    with tempfile.TemporaryDirectory() as folder:
        for name in KEPT:
            (Path(folder) / name).write_bytes(WHOLE[name])
        path = Path(folder) / kind
        path.write_bytes(content)
        before = sorted(Path(folder).iterdir())
        caught: Exception | None = None
        try:
            READ[kind][1](path)
        except (ValueError, OSError) as error:
            caught = error
        assert sorted(Path(folder).iterdir()) == before
        assert path.read_bytes() == content
    text = str(caught)
    if caught is not None:
        assert folder in text or kind in text, f"names no file: {caught!r}"
        assert "\n" not in text, text
    return caught


def nodes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places in a value of JSON."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield from nodes(below, (*path, key))


@st.composite
def mangled(draw: Any, text: bytes) -> bytes:
    """JSON of which one or two values are others, or gone."""
    value = json.loads(text)
    for _ in range(draw(st.integers(1, 2))):
        *parents, last = draw(st.sampled_from([*nodes({"": value})][1:]))
        owner: Any = {"": value}
        for key in parents:
            owner = owner[key]
        if draw(st.booleans()) or not parents:
            owner[last] = draw(JSON | NUMBERS)
            value = value if parents else owner[""]
        else:
            del owner[last]
    with contextlib.suppress(ValueError, TypeError, RecursionError):
        return json.dumps(value).encode(errors="surrogatepass")
    return b"null"


def inputs(kind: str) -> st.SearchStrategy[bytes]:
    whole = WHOLE.get(READ[kind][0], b"{}")
    content = broken((whole,)) | st.binary(max_size=40)
    if kind.endswith((".json", ".jsonl")):
        content |= mangled(whole).map(lambda text: text + b"\n" if kind.endswith("l") else text)
    return content


def damaged(kind: str) -> Callable[[], None]:
    """The property of a kind of file."""

    def test(content: bytes) -> None:
        attempt(kind, content)

    test.__name__ = "test_" + re.sub(r"\W", "_", kind)
    tables = kind.startswith(("table.", "sparse."))
    return fuzz(inputs(kind), examples=4 if tables else 12, share=15 if tables else 75)(test)


DAMAGED = {kind: damaged(kind) for kind in READ}


@pytest.mark.parametrize("kind", READ)
def test_whole_files_are_read(kind: str) -> None:
    like = READ[kind][0]
    if kind == like and like in WHOLE:
        assert attempt(kind, WHOLE[like]) is None


@pytest.mark.parametrize(
    "path", sorted((CORPUS / "broken").glob("*/*")), ids=lambda path: f"{path.parent.name} {path.name}"
)
def test_what_was_answered_otherwise_once(path: Path) -> None:
    attempt(path.parent.name, path.read_bytes())


@pytest.mark.parametrize("kind", READ)
def test_damaged_files(kind: str) -> None:
    DAMAGED[kind]()
