import itertools
import sys

import numpy as np
import pytest

from jaxvae.data import Split, load, stream


def numbered(count=50, labels=True):
    """Images that say which they are."""
    x = np.arange(count, dtype=np.uint8)
    return Split(np.broadcast_to(x[:, None, None, None], (count, 2, 2, 1)), x.astype(np.int32) if labels else None)


def rows(batches, count):
    return [batch["image"][:, 0, 0, 0].tolist() for batch in itertools.islice(batches, count)]


def test_epochs_are_shuffled_anew_and_drop_the_rest():
    steps = rows(stream(numbered(), 8, seed=0), 3 * 6)
    epochs = [list(itertools.chain(*steps[i : i + 6])) for i in (0, 6, 12)]
    for epoch in epochs:
        assert len(set(epoch)) == 48  # none twice
        assert epoch != sorted(epoch)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert len({frozenset(epoch) for epoch in epochs}) > 1  # not always the same two are left out


def test_images_and_labels_stay_together():
    split = load("digits").train
    known = {image.tobytes(): label for image, label in zip(split.images, split.labels, strict=True)}
    for batch in itertools.islice(stream(split, 100, seed=0), 5):
        assert batch.keys() == {"image", "label"}
        assert (batch["image"].shape, batch["image"].dtype, batch["label"].dtype) == (
            (100, 8, 8, 1),
            np.uint8,
            np.int32,
        )
        assert [known[image.tobytes()] for image in batch["image"]] == batch["label"].tolist()


def test_without_labels_there_is_no_label():
    assert next(stream(numbered(labels=False), 8, seed=0)).keys() == {"image"}


def test_the_seed_decides():
    first, again, other = (rows(stream(numbered(), 8, seed=s), 7) for s in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("start", [1, 6, 13])
def test_a_start_goes_on_as_if_never_stopped(start):
    whole = rows(stream(numbered(), 8, seed=3), start + 9)
    assert rows(stream(numbered(), 8, seed=3, start=start), 9) == whole[start:]


def test_a_start_costs_nothing():
    assert len(rows(stream(numbered(), 8, seed=3, start=10**12), 2)) == 2


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_the_global_batch(count):
    whole = rows(stream(numbered(), 8, seed=5), 8)
    parts = [stream(numbered(), 8, seed=5, process_index=i, process_count=count) for i in range(count)]
    for expected, *slices in zip(whole, *parts, strict=False):
        for key in ("image", "label"):
            assert np.concatenate([batch[key].reshape(8 // count, -1)[:, 0] for batch in slices]).tolist() == expected


def test_memory_maps_are_read(tmp_path):
    np.save(tmp_path / "x.npy", np.ascontiguousarray(numbered().images))
    split = Split(np.load(tmp_path / "x.npy", mmap_mode="r"), None)
    assert rows(stream(split, 8, seed=0), 7) == rows(stream(numbered(), 8, seed=0), 7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be 1 to the 50 images of the split, got 0"),
        ({"batch_size": 51}, "batch_size must be 1 to the 50 images of the split, got 51"),
        ({"seed": -1}, r"seed must be at least 0 and below 2\*\*32, got -1"),
        ({"start": -1}, "start must be at least 0, got -1"),
        ({"process_count": 0}, "process_count must be at least 1, got 0"),
        ({"process_count": 3}, "process_count must be a divisor of batch_size 8, got 3"),
        ({"process_count": 2, "process_index": 2}, "process_index must be at least 0 and below 2, got 2"),
    ],
)
def test_numbers_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        stream(numbered(), **{"batch_size": 8, "seed": 0, **arguments})


def test_without_grain_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(ModuleNotFoundError, match=r"streaming needs grain: pip install 'jaxvae\[grain\]'"):
        stream(numbered(), 8, seed=0)
