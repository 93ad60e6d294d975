"""Arrays of files come back as long as the files are the same, and never when they aren't."""

import os
import shutil
import time

import numpy as np
import pytest

from jaxvae.data import cache

ARRAY = np.arange(24, dtype=np.uint8).reshape(2, 3, 4, 1)
NAMES = ["a", "b"]


class Maker:
    """Makes the array of two files, and counts how often it is asked for it, and for the files' contents."""

    def __init__(self, root):
        self.root, self.made, self.read = root, 0, 0

    def contents(self):
        self.read += 1
        return (file.read_bytes() for file in (self.root / "a", self.root / "b"))

    def make(self):
        self.made += 1
        contents = [(self.root / name).read_bytes() for name in NAMES]
        return cache.Made(ARRAY + len(contents[0]), {"note": "x"}, cache.digest_of(map(cache.digest, contents)))

    def get(self, how="plain"):
        return cache.keep_made(self.root, NAMES, how, self.contents, self.make)


@pytest.fixture
def maker(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "files"
    root.mkdir()
    (root / "a").write_text("one")
    (root / "b").write_text("two")
    return Maker(root)


def kept(tmp_path, suffix):
    return sorted((tmp_path / "cache" / "jaxvae" / "images").glob(f"*/*{suffix}"))


def test_an_array_is_made_once_and_mapped(maker):
    for _ in range(3):
        found = maker.get()
        assert isinstance(found.array, np.memmap)
        np.testing.assert_array_equal(found.array, ARRAY + 3)
        assert found.about == {"note": "x"}
    assert (maker.made, maker.read) == (1, 0)


def test_files_of_the_same_contents_have_the_same_array(maker, tmp_path):
    first = maker.get()
    os.utime(maker.root / "a", ns=(1, 1))
    assert maker.get().content == first.content
    assert (maker.made, maker.read) == (1, 1)
    maker.get()
    assert (maker.made, maker.read) == (1, 1)
    other = Maker(tmp_path / "copied")
    shutil.copytree(maker.root, other.root)
    other.get()
    other.get()
    assert (other.made, other.read) == (0, 1)


def test_what_has_changed_is_made_anew(maker):
    first, before = maker.get(), os.stat(maker.root / "a")
    (maker.root / "a").write_text("eno")
    os.utime(maker.root / "a", ns=(before.st_atime_ns, before.st_mtime_ns))  # as copying does
    assert maker.get().content != first.content
    assert maker.made == 2
    (maker.root / "a").write_text("longer")
    np.testing.assert_array_equal(maker.get().array, ARRAY + 6)
    maker.get("otherwise")
    assert maker.made == 4
    (maker.root / "a").write_text("one")
    assert maker.get().content == first.content
    assert maker.made == 4


@pytest.mark.parametrize("suffix", [".npy", ".json", ".txt"])
@pytest.mark.parametrize(
    "damage",
    [lambda x: b"", lambda x: x[: len(x) // 2], lambda x: x[:-1] + bytes([x[-1] ^ 1]), lambda x: b"\xff" * len(x)],
    ids=["empty", "half", "bit", "garbage"],
)
def test_what_is_damaged_is_made_anew(maker, tmp_path, suffix, damage):
    maker.get()
    (file,) = kept(tmp_path, suffix)
    file.write_bytes(damage(file.read_bytes()))
    for _ in range(2):
        np.testing.assert_array_equal(maker.get().array, ARRAY + 3)
    assert maker.made == (1 if suffix == ".txt" else 2)
    assert len(kept(tmp_path, suffix)) == 1


def test_a_file_that_is_gone_is_another_state(maker):
    maker.get()
    (maker.root / "b").unlink()
    with pytest.raises(FileNotFoundError):
        maker.get()


def test_no_place_to_write_is_no_error(maker, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("no folder")
    for _ in range(2):
        np.testing.assert_array_equal(maker.get().array, ARRAY + 3)
    assert maker.made == 2
    (tmp_path / "cache").unlink()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    np.testing.assert_array_equal(maker.get().array, ARRAY + 3)
    assert kept(tmp_path, "") == []


def test_what_nobody_uses_goes_when_another_is_written(maker, tmp_path):
    maker.get()
    (old,) = {file.parent for file in kept(tmp_path, "")}
    for age, there in ((89, True), (91, False)):
        then = time.time() - age * 24 * 3600
        for file in old.iterdir():
            os.utime(file, (then, then))
        maker.get(f"after {age} days")
        assert old.exists() == there


def test_what_is_used_stays(maker, tmp_path):
    maker.get()
    for file in kept(tmp_path, ""):
        os.utime(file, (0, 0))
    maker.get()
    maker.get("otherwise")
    maker.get()
    assert maker.made == 2
