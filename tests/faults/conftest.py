import pytest

from jaxvae import process


@pytest.fixture(autouse=True)
def _own_place(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(process, "use_compilation_cache", lambda: None)  # a setting for the whole process
