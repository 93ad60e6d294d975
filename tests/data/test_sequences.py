"""Sequences of several lengths: read as such, refused where they are none, and missing beyond their ends."""

import numpy as np
import pytest

from jaxvae.data import contract_of, from_arrays, load
from jaxvae.data.options import Reading

LENGTHS = np.arange(20) % 5 + 3


def waves(n=20, steps=8, channels=2):
    rng = np.random.default_rng(0)
    time = np.arange(steps)[:, None] * rng.uniform(0.3, 0.9, (n, 1, channels))
    return np.sin(time + rng.uniform(0, 6, (n, 1, 1))).astype(np.float32)


def test_lengths_say_that_they_are_sequences_and_where_these_end(tmp_path):
    np.savez(tmp_path / "waves.npz", x=waves(), lengths=LENGTHS)
    found = load(str(tmp_path / "waves.npz"))
    assert (found.image_shape, found.reading.layout) == ((8, 1, 2), "ntc")
    every = {tuple(x[~np.isnan(x)].tolist()) for split in found.splits.values() for x in split.images}
    assert every == {tuple(x[:n].ravel().tolist()) for x, n in zip(waves(), LENGTHS, strict=True)}
    assert (
        "sequences of 8x2"
        in contract_of(found, binarization="none", likelihood="laplace", conditional=False).description
    )


def test_a_layout_says_so_without_lengths():
    assert from_arrays(waves(), reading=Reading(layout="ntc")).image_shape == (8, 1, 2)
    assert from_arrays(waves()).image_shape == (8, 2, 1)


def test_training_ones_may_be_shorter_than_all_others():
    x = waves()
    found = from_arrays({"train": x, "test": x}, lengths={"train": LENGTHS, "test": np.full(20, 8)})
    assert np.isnan(found.train.images[:, 7]).all()
    with pytest.raises(ValueError, match="train split must be one entry at least in each column"):
        from_arrays(np.where(np.arange(2) == 1, np.nan, x), lengths=LENGTHS)


@pytest.mark.parametrize(
    ("lengths", "reading", "said"),
    [
        (LENGTHS[:-1], Reading(), r"lengths.shape must be \(20,\), a length for each sequence, got \(19,\)"),
        (LENGTHS - 3, Reading(), r"lengths must be whole numbers in 1\.\.8, got '0 to 4'"),
        (LENGTHS + 0.5, Reading(), r"lengths must be whole numbers in 1\.\.8, got '3\.5 to 7\.5'"),
        (LENGTHS + 9, Reading(), r"lengths must be whole numbers in 1\.\.8, got '12 to 16'"),
        (LENGTHS, Reading(layout="nhw"), "layout must be ntc for what has lengths, got 'nhw'"),
    ],
)
def test_other_lengths_are_refused(lengths, reading, said):
    with pytest.raises(ValueError, match=said):
        from_arrays(waves(), lengths=lengths, reading=reading)


def test_pictures_have_no_lengths():
    with pytest.raises(ValueError, match=r"given for sequences \(N, T, C\) alone"):
        from_arrays(np.zeros((20, 4, 4, 3)), lengths=LENGTHS)


def test_a_model_takes_sequences_as_they_are():
    found = from_arrays(waves(), lengths=LENGTHS)
    contract = contract_of(found, binarization="none", likelihood="gaussian_learned", conditional=False)
    assert contract.arranged(waves(3)).shape == (3, 8, 1, 2)
    assert contract.arranged(waves(3)[:, :, None]).shape == (3, 8, 1, 2)
