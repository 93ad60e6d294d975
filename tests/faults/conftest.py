import pytest

from jaxvae import process


@pytest.fixture(autouse=True, scope="module")
def _no_cache_for_the_whole_process():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "use_compilation_cache", lambda: None)
        yield


@pytest.fixture(autouse=True)
def _own_place(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
