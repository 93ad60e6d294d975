"""The hub, by a stand-in that keeps repositories in a folder and has the same functions."""

import shutil
import sys
import types

import numpy as np
import pytest
import trained_models
from test_exports import Untrained

import jaxvae as jv
from jaxvae.trained import export_run, hub


@pytest.fixture
def there(tmp_path, monkeypatch):
    """Where the stand-in keeps what is pushed."""
    root = tmp_path / "hub"

    class HfApi:
        def create_repo(self, repo_id, repo_type, exist_ok):
            if "/" not in repo_id:
                raise OSError("404: no such namespace")
            (root / repo_id).mkdir(parents=True, exist_ok=exist_ok)

        def upload_folder(self, folder_path, repo_id, repo_type):
            assert repo_type == "model"
            shutil.copytree(folder_path, root / repo_id, dirs_exist_ok=True)
            return f"https://hub/{repo_id}"

    def snapshot_download(repo_id, revision=None, allow_patterns=None):
        if revision not in (None, "main") or not (root / repo_id).exists():
            raise OSError(f"404: {repo_id}@{revision}")
        target = tmp_path / "cache"
        target.mkdir(exist_ok=True)
        for pattern in allow_patterns:
            for file in (root / repo_id).glob(pattern):
                shutil.copy(file, target)
        return str(target)

    module = types.SimpleNamespace(HfApi=HfApi, snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return root


def test_what_is_pushed_is_loaded(there, tmp_path):
    model = trained_models.model("flat")
    export_run(Untrained(model, tmp_path), tmp_path / "out")
    assert hub.push(tmp_path / "out", "me/digits") == "https://hub/me/digits"
    (there / "me" / "digits" / "evil.py").write_text("raise SystemExit")
    for address in ("hf://me/digits", "hf://me/digits@main"):
        again = jv.load(address)
        x = np.zeros((1, *trained_models.SHAPE), np.uint8)
        np.testing.assert_array_equal(again.encode(x).mean, model.encode(x).mean)
    assert not (tmp_path / "cache" / "evil.py").exists()


@pytest.mark.usefixtures("there")
def test_what_the_hub_refuses_is_told_in_a_line(tmp_path):
    with pytest.raises(ValueError, match=r"hf://me/none can't be read: 404"):
        jv.load("hf://me/none")
    with pytest.raises(ValueError, match=r"digits can't be pushed to: 404"):
        hub.push(tmp_path, "digits")
    with pytest.raises(ValueError, match=r"--push-to must be owner/name, got 'a/b/c'"):
        hub.push(tmp_path, "a/b/c")


def test_without_its_package_there_is_no_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"this needs huggingface_hub, .*: pip install huggingface_hub"):
        jv.load("hf://me/digits")
