"""Agreement of several processes that train as one: they compare what they train, and end together if one fails."""

import contextlib
import json
from collections.abc import Iterator, Mapping

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxvae.arguments import require


def gathered(text: str) -> list[str]:
    """Returns the texts of all processes; each process calls it with its own text."""
    if jax.process_count() == 1:
        return [text]
    content = np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)
    sizes = np.ravel(multihost_utils.process_allgather(np.int32(len(content))))
    padded = np.zeros(max(1, sizes.max()), np.uint8)
    padded[: len(content)] = content
    rows = np.reshape(multihost_utils.process_allgather(padded), (len(sizes), -1)).astype(np.uint8)
    return [row[:size].tobytes().decode("utf-8", "surrogateescape") for row, size in zip(rows, sizes, strict=True)]


@contextlib.contextmanager
def failing_together() -> Iterator[None]:
    """Makes every process raise if one raises; the code inside must not communicate between processes.

    Raises:
        ValueError: in processes without an error of their own; it quotes the first process's error.
    """
    error: Exception | None = None
    try:
        yield
    except Exception as raised:
        error = raised
    texts = gathered("" if error is None else str(error) or type(error).__name__)
    if error is not None:
        raise error
    for process, text in enumerate(texts):
        if text:
            raise ValueError(f"process {process}: {text}")


def require_agreement(values: Mapping[str, str]) -> None:
    """Raises ValueError in every process if these texts, by field, differ between processes."""
    all_values = [json.loads(text) for text in gathered(json.dumps(dict(values)))]
    for process, others in enumerate(all_values):
        for name in {**all_values[0], **others}:
            first, other = all_values[0].get(name), others.get(name)
            require(other == first, name, f"{other} in process {process}", f"the same in all processes, {first}")
