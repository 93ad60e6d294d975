"""Exported models on the Hugging Face hub, with ``huggingface_hub``, if it is installed."""

from pathlib import Path
from typing import Any

from jaxvae.arguments import require
from jaxvae.interop.optional import load_optional

SCHEME = "hf://"


def _library() -> Any:
    return load_optional("huggingface_hub", "huggingface_hub")


def push(folder: Path, name: str) -> str:
    """Uploads an exported folder to a model repository, which is created if necessary, and returns its address.

    Args:
        folder: the folder.
        name: ``owner/name``.

    Raises:
        ImportError: without huggingface_hub.
        ValueError: if the hub refuses it.
    """
    require(name.count("/") <= 1 and bool(name.strip("/")), "--push-to", name, "owner/name")
    api = _library().HfApi()
    try:
        api.create_repo(repo_id=name, repo_type="model", exist_ok=True)
        return str(api.upload_folder(folder_path=str(folder), repo_id=name, repo_type="model"))
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{name} can't be pushed to: {error}") from error


def pull(address: str) -> Path:
    """Downloads a model, ``hf://owner/name`` or ``hf://owner/name@revision``, into the cache, and returns its folder.

    Raises:
        ImportError: without huggingface_hub.
        ValueError: if there is no such model, or no connection.
    """
    name, _, revision = address.removeprefix(SCHEME).partition("@")
    try:
        files = ["*.json", "*.safetensors", "README.md"]
        return Path(_library().snapshot_download(name, revision=revision or None, allow_patterns=files))
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{address} can't be read: {error}") from error
