import re

import numpy as np
import pytest

from jaxvae.data.tables.apportioning import (
    grouped_splits,
    named_splits,
    rows_by_split,
    settled_splits,
    stratified_splits,
)

RNG = np.random.default_rng(0)


def test_splits_are_known_by_their_usual_names():
    entries = np.array([" Train", "VAL", "dev", "testing", "training"], object)
    assert named_splits(entries, "part", str).tolist() == ["train", "validation", "validation", "test", "train"]
    with pytest.raises(ValueError, match=r"^1, column 'part' must be train, validation or test, got None$"):
        named_splits(np.array(["test", None], object), "part", str)


def test_splits_without_a_test_split_are_settled():
    given = np.array(["train", "validation", "test"])
    np.testing.assert_array_equal(settled_splits(given, "f")[0], given)
    splits, notes = settled_splits(given[:2], "f")
    assert splits.tolist() == ["train", "test"]
    assert notes == ["There is no test split: the validation split is taken for it."]
    assert settled_splits(given[:1], "f") == (None, ["There is only a train split: it is split here."])
    with pytest.raises(
        ValueError, match=re.escape("f: splits must be train, test and perhaps validation, got ['test']")
    ):
        settled_splits(given[2:], "f")


def test_a_group_is_in_one_split_and_none_moves_for_others():
    groups = RNG.integers(0, 500, 3000).astype(str)
    splits = grouped_splits(groups, "f")
    found = {name: set(groups[rows]) for name, rows in rows_by_split(splits).items()}
    assert sum(map(len, found.values())) == len(set(groups))
    shares = [len(found[name]) / len(set(groups)) for name in ("train", "validation", "test")]
    np.testing.assert_allclose(shares, (0.8, 0.1, 0.1), atol=4 * np.sqrt(0.16 / 500))  # four standard errors
    more = grouped_splits(np.r_[groups, ["new"] * 5], "f")
    np.testing.assert_array_equal(more[:-5], splits)


@pytest.mark.parametrize("seed", range(20))
def test_three_groups_are_three_splits(seed):
    names = np.random.default_rng(seed).integers(0, 10**9, 3).astype(str)
    assert sorted(grouped_splits(names, "g")) == ["test", "train", "validation"]


def test_two_groups_cannot_be_split():
    with pytest.raises(ValueError, match=r"^f: column 'g': number of groups must be at least 3, to be split, got 2$"):
        grouped_splits(np.array(["a", "b", "a"]), "f: column 'g'")


def test_each_class_has_its_share_in_every_split():
    labels = RNG.permutation(np.repeat(["a", "b", "c", "d"], (500, 103, 24, 1)))
    splits = stratified_splits(labels, "f")
    for name, count in (("a", 500), ("b", 103), ("c", 24)):
        some = splits[labels == name]
        for split, share in (("validation", 0.1), ("test", 0.1)):
            assert abs(np.sum(some == split) - share * (count - 1)) < 1
    assert splits[labels == "d"].tolist() == ["train"]
    np.testing.assert_array_equal(splits, stratified_splits(labels, "f"))
    few = np.r_[np.arange(40), [99] * 20]
    assert set(few[stratified_splits(few, "f") == "train"]) == {*range(40), 99}


def test_too_few_rows_cannot_be_split_by_class():
    assert len(rows_by_split(stratified_splits(np.repeat([0, 1], 6), "f"))) == 3
    with pytest.raises(
        ValueError, match=r"^f: number of rows must be at least 10 more than there are classes, got 11$"
    ):
        stratified_splits(np.repeat([0, 1], (6, 5)), "f")
