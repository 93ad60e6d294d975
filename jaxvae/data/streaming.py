"""Batches of a split that is too large for the device: shuffled, endless, and resumable at any step."""

from collections.abc import Iterator

import numpy as np

from jaxvae.arguments import require
from jaxvae.data.dataset import Split

_THREADS = 4
_AHEAD = 16
"""The number of batches that are read ahead."""


def stream(
    split: Split, batch_size: int, seed: int, start: int = 0, process_index: int = 0, process_count: int = 1
) -> Iterator[dict[str, np.ndarray]]:
    """Yields batches endlessly, shuffled again in each epoch and read ahead by threads; needs grain.

    Batch number n depends only on split, batch_size, seed and n; to continue after n batches, start at n. An epoch has
    len(split) // batch_size batches, and leaves out the rest of its order.

    Args:
        split: the images, which may be mapped into memory, and their labels.
        batch_size: the size of the global batch.
        seed: the seed of the orders.
        start: the number of the first batch.
        process_index: the index of this process's slice of each global batch.
        process_count: the number of equal slices.

    Yields:
        ``image`` (batch_size / process_count, H, W, C), as stored; ``label`` and ``covariates``, if the split has them.

    Raises:
        ValueError: for numbers out of range.
        ModuleNotFoundError: without grain.
    """
    given = {"batch_size": batch_size, "seed": seed, "start": start}
    for name, value in {**given, "process_index": process_index, "process_count": process_count}.items():
        require(isinstance(value, int), name, value, "an integer")
    require(1 <= batch_size <= len(split), "batch_size", batch_size, f"1 to the {len(split)} images of the split")
    require(0 <= seed < 2**32, "seed", seed, "at least 0 and below 2**32")
    require(start >= 0, "start", start, "at least 0")
    require(process_count >= 1, "process_count", process_count, "at least 1")
    require(batch_size % process_count == 0, "process_count", process_count, f"a divisor of batch_size {batch_size}")
    require(0 <= process_index < process_count, "process_index", process_index, f"at least 0 and below {process_count}")
    try:
        import grain  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise ModuleNotFoundError("streaming needs grain: pip install 'jaxvae[grain]'") from None

    size = batch_size // process_count
    mine = slice(process_index * size, (process_index + 1) * size)

    def read(rows: np.ndarray) -> dict[str, np.ndarray]:
        arrays = {"image": split.images, "label": split.labels, "covariates": split.covariates}
        return {name: x[rows[mine]] for name, x in arrays.items() if x is not None}

    order = grain.MapDataset.range(len(split)).shuffle(seed=seed)[: len(split) // batch_size * batch_size]
    batches = order.repeat().batch(batch_size).map(read)[start:]
    return iter(batches.to_iter_dataset(grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=_AHEAD)))
