"""Configurations, as values and as files: whole, or refused in a line that names the field, and nothing is written."""

import contextlib
import dataclasses
import json
import tempfile
import typing
from pathlib import Path
from typing import Any

import jax
import pytest
from hypothesis import strategies as st
from strategies import JSON, JUNK, NUMBERS, broken, fuzz, refusal

from jaxvae.models import ACTIVATIONS
from jaxvae.parameterizations import PARAMETERIZATIONS
from jaxvae.training import TrainConfig, config_from_mapping, make_experiment, read_config
from jaxvae.training.devices import one_device

FIELDS = {field.name: field for field in dataclasses.fields(TrainConfig)}
HINTS = typing.get_type_hints(TrainConfig)
COUNTS = st.integers(0, 4) | st.sampled_from((-1, 7, 100, 1000, 2**31 - 1, 2**31, 2**63, 2**70))
REALS = st.sampled_from((0.0, -1.0, 1e-320, 1e-8, 0.1, 0.5, 0.9, 1.0, 2.0, 1e38, 1e300, 1, 0, -3))


def likely(name: str) -> st.SearchStrategy[Any]:
    """Values of a field's type, allowed or not."""
    hint, choices = HINTS[name], FIELDS[name].metadata["choices"]
    if choices:
        return st.sampled_from(choices)
    if "parameterization" in name:
        return st.sampled_from(tuple(PARAMETERIZATIONS))
    if name == "activation":
        return st.sampled_from(tuple(ACTIVATIONS))
    if name == "dataset":
        return st.sampled_from(
            ("digits", "linear-gaussian", "nowhere", "~no-one/x", "x.npy", "/", "größe", "\x00", "a" * 300)
        )
    if hint in (str, str | None):
        return st.sampled_from(("", "x", "~no-one", "/dev/null"))
    if hint is bool:
        return st.booleans()
    if typing.get_origin(hint) is tuple:
        return st.lists(COUNTS, max_size=3)
    return REALS if float in (hint, *typing.get_args(hint)) else COUNTS


NAMES = st.sampled_from(tuple(FIELDS))
LIKELY = st.fixed_dictionaries({}, optional={name: likely(name) for name in FIELDS})
FEW_LIKELY = st.lists(NAMES, max_size=4, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: likely(name) for name in names})
)
UNLIKELY = st.dictionaries(NAMES | st.text(max_size=6), JSON | JUNK | NUMBERS, max_size=3)


@fuzz(FEW_LIKELY | LIKELY | UNLIKELY | JSON | JUNK)
def test_values(values: Any) -> None:
    made: list[TrainConfig] = []
    error = refusal(lambda: made.append(config_from_mapping(values)), "config", *FIELDS)
    assert error is None or type(error) is ValueError, error
    if error is None:
        (config,) = made
        hash(config)
        assert config_from_mapping(json.loads(config.to_json())) == config
        for name, value in dataclasses.asdict(config).items():
            kind = tuple if typing.get_origin(HINTS[name]) is tuple else (HINTS[name],)[0]
            assert isinstance(value, kind), name


@fuzz(UNLIKELY)
def test_a_configuration_made_directly(values: dict[str, Any]) -> None:
    values = {name: value for name, value in values.items() if name in FIELDS}
    error = refusal(lambda: TrainConfig(**values), *FIELDS)
    assert error is None or type(error) is ValueError, error


WHOLE = TrainConfig(hidden=(3, 4), dataset="größe").to_json()
FILES = {
    "empty": b"",
    "null": b"null",
    "list": b"[]",
    "number": b"3",
    "deep list": b"[" * 100_000,
    "deep object": b'{"a":' * 100_000,
    "deep value": b'{"hidden": ' + b"[" * 100_000,
    "utf-16": '{"latents": 3}'.encode("utf-16"),
    "latin-1": '{"dataset": "größe"}'.encode("latin-1"),
    "NaN": b'{"learning_rate": NaN}',
    "Infinity": b'{"learning_rate": Infinity}',
    "overflow": b'{"learning_rate": 1e999}',
    "large integer": b'{"learning_rate": ' + b"9" * 400 + b"}",
    "larger integer": b'{"latents": ' + b"9" * 5000 + b"}",
    "twice": b'{"latents": 3, "latents": 4}',
    "unknown": '{"größe": 3}'.encode(),
    "NUL": b'{"latents": 3}\0',
    "two": b"{}{}",
}


def read(content: bytes) -> tuple[Exception | None, list[TrainConfig]]:
    """What comes of a file, and nothing else in its folder."""
    made: list[TrainConfig] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_bytes(content)
        error = refusal(lambda: made.append(read_config(path)), "config.json")
        assert [entry.name for entry in Path(folder).iterdir()] == ["config.json"]
    assert error is None or type(error) is ValueError, error
    return error, made


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_malformed_files(content: bytes) -> None:
    error, _ = read(content)
    assert error is not None


@pytest.mark.parametrize("name", ["", "nowhere", "a" * 300, "a\0b", "folder"])
def test_paths_that_are_no_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert refusal(lambda: read_config(tmp_path / name), "config") is not None


@fuzz(broken((WHOLE.encode(), *(x for x in FILES.values() if 0 < len(x) < 100))) | st.binary(max_size=20))
def test_broken_files(content: bytes) -> None:
    error, made = read(content)
    assert error is not None or made[0] is not None


LOOSE = ("std", "levels", "steps", "dataset", "data", "image", *FIELDS)


@fuzz(FEW_LIKELY, examples=8, share=1)
def test_an_experiment_begins_or_is_refused(values: dict[str, Any]) -> None:
    """Where nothing is refused, the state to begin with has a shape: what training traces first."""
    made: list[TrainConfig] = []
    if refusal(lambda: made.append(config_from_mapping(values)), *FIELDS) is not None:
        return
    built: list[Any] = []
    with contextlib.suppress(OSError):  # no such file
        if refusal(lambda: built.append(make_experiment(made[0], one_device())), *LOOSE) is None:
            state = jax.eval_shape(lambda: built[0].begin(made[0].seed))
            assert state.step.shape == ()
