import contextlib
import os
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from jaxvae import files
from jaxvae.files import (
    LOCK,
    UNFINISHED,
    claimed,
    entries,
    only_writer,
    require_file,
    require_free,
    require_unwritten,
    write_atomically,
    written_together,
)


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

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/x.json'"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_what_is_written_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr("os.fsync", lambda number: done.append(os.readlink(f"/proc/self/fd/{number}")) or sync(number))
    monkeypatch.setattr(type(tmp_path), "replace", lambda self, new: done.append("renamed") or replace(self, new))
    write_atomically(tmp_path / "x.json", "new")
    assert [name.startswith(str(tmp_path / ".x.json.")) for name in done[:1]] == [True]
    assert done[1:] == ["renamed", str(tmp_path)]


def test_a_planted_link_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(secrets, "token_hex", lambda count: "0" * 2 * count)  # as if it could be guessed
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / f".x.json.{'0' * 16}").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "x.json", "new")
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("left", [".versions.json.4242", ".table.jsonl.0123456789abcdef"])
def test_what_killed_writes_left_is_never_counted_and_removed(tmp_path, left):
    (tmp_path / left).touch()
    (tmp_path / ".mine").touch()
    assert entries(tmp_path) == {".mine"}
    require_free(tmp_path, {".mine"}, "empty")
    with only_writer(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {".mine", LOCK}


def test_what_a_killed_write_of_a_file_left_goes_with_the_next_one(tmp_path):
    mine, live, other = (tmp_path / f".{name}.0123456789abcde{i}" for i, name in enumerate(("x.csv", "x.csv", "y.csv")))
    user = tmp_path / ".x.csv.20260101"
    for path in (mine, live, other, user):
        path.touch()
    with files._locked(live):  # as by a process that is about to write it
        write_atomically(tmp_path / "x.csv", "new")
    assert {path.name for path in tmp_path.iterdir()} == {"x.csv", live.name, other.name, user.name}


def test_files_that_belong_together_are_written_again_where_they_were_cut_short(tmp_path):
    out = tmp_path / "out"
    with contextlib.suppress(KeyError), written_together(out / UNFINISHED):
        (out / "a").touch()
        raise KeyError
    require_unwritten(out, ("a", "b"), "empty")
    with pytest.raises(ValueError, match="out must be empty, got"):
        require_unwritten(out, ("b",), "empty")
    with written_together(out / UNFINISHED):
        pass
    assert [path.name for path in out.iterdir()] == ["a"]
    with pytest.raises(ValueError, match="out must be empty, got"):
        require_unwritten(out, ("a", "b"), "empty")


def test_a_directory_whose_lock_is_deleted_has_no_second_writer_and_says_so(tmp_path):
    folder = tmp_path / "a"
    with only_writer(folder) as claim:
        claim.require_held()
        (folder / LOCK).unlink()
        with pytest.raises(ValueError, match="no other process writes to"), only_writer(folder):
            pass
        with pytest.raises(FileNotFoundError, match="deleted, moved or unlocked"):
            claim.require_held()
        (folder / LOCK).touch()
        with pytest.raises(FileNotFoundError, match="deleted, moved or unlocked"):
            claim.require_held()


def test_pipes_and_devices_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/null"):
        with pytest.raises(ValueError, match=f"must be a file or a folder, got '{path}'"):
            require_file(type(tmp_path)(path))
    require_file(tmp_path)
    require_file(tmp_path / "none")


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


def test_those_who_claim_at_the_same_time_each_get_their_own(tmp_path):
    start = threading.Barrier(8)

    def claims(i: int) -> list[str]:
        names = []
        for _ in range(50):
            start.wait()
            with claimed(tmp_path / "runs" / "a") as mine:
                names.append(mine.name)
                (mine / str(i)).touch(exist_ok=False)
                start.wait()
                assert [path.name for path in mine.iterdir()] == [str(i)]
                (mine / str(i)).unlink()
        return names

    with ThreadPoolExecutor(8) as pool:
        for names in zip(*pool.map(claims, range(8)), strict=True):
            assert len({*names}) == 8


def test_a_place_that_leads_nowhere_is_no_place_for_a_directory(tmp_path):
    (tmp_path / "runs").symlink_to(tmp_path / "gone")
    with pytest.raises(FileExistsError), claimed(tmp_path / "runs" / "a"):
        pass
