"""Files that are whole, whatever happens."""

import os
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """All of the content, or the file as it was."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
