import pytest

from jaxvae.files import LOCK, claimed, entries, only_writer, write_atomically


def test_writing_is_all_or_nothing(tmp_path):
    path = tmp_path / "x.json"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new \ud800")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    write_atomically(path, b"\x00new")
    assert path.read_bytes() == b"\x00new"


def test_a_write_that_fails_leaves_the_file(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_atomically(path, "old")

    def full(self, content):
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "write_bytes", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/x.json'"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_directory_has_one_writer_at_a_time(tmp_path):
    folder = tmp_path / "a" / "b"
    assert entries(folder) == set()
    with only_writer(folder):
        assert entries(folder) == set()
        with pytest.raises(ValueError, match=r"no other process writes to, got '.*/a/b'"), only_writer(folder):
            pass
    with only_writer(folder):
        (folder / "x").touch()
    assert entries(folder) == {"x"}
    assert (folder / LOCK).exists()


def test_what_cannot_be_a_directory_is_refused(tmp_path):
    (tmp_path / "file").touch()
    message = r"out must be a directory to write to, got '.*/file/x' \(Not a directory\)"
    with pytest.raises(ValueError, match=message), only_writer(tmp_path / "file" / "x"):
        pass


def test_new_directories_are_each_claimed_by_one(tmp_path):
    with claimed(tmp_path / "runs" / "a") as first, claimed(tmp_path / "runs" / "a") as second:
        assert (first.name, second.name) == ("a", "a-2")
        (second / "x").touch()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["a-2"]  # nothing was put into the other
    with pytest.raises(KeyError), claimed(tmp_path / "other" / "b"):
        raise KeyError
    assert not (tmp_path / "other").exists()
