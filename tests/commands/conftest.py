"""A tiny run of the digits, and a directory of its own for each test."""

import pytest
from command_line import TINY

from jaxvae import process
from jaxvae.cli import main


@pytest.fixture(autouse=True)
def _own_place(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(process, "use_compilation_cache", lambda: None)  # a setting for the whole process


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """The directory of a run; all tests share it, so what adds files to it works on a copy."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "use_compilation_cache", lambda: None)
        assert main(["train", "--out", str(out), *TINY]) == 0
    return out
