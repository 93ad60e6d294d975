"""The benchmark of reading reads, and reads from the cache."""

import os

from benchmarks import image_reading


def test_the_cache_is_cheaper_than_the_files(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", os.environ.get("XDG_CACHE_HOME", ""))  # is given back
    found = image_reading.measured(1000)
    assert 0 < found.listing < found.reading
    assert 0 < found.cached < found.reading
