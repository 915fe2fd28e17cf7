"""The cache of judgements and scores."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from postlude.cache import Cache, key_of
from postlude.errors import ConfigError


def test_equal_parts_have_equal_keys_and_others_do_not() -> None:
    assert key_of({"a": 1, "b": "ü"}, 2.0) == key_of({"b": "ü", "a": 1}, 2.0)
    assert len({key_of("ab", "c"), key_of("a", "bc"), key_of(["ab", "c"]), key_of("abc")}) == 4
    assert key_of("\ud800")  # a model can write half a character


def test_values_outlive_the_object_and_the_first_stays(tmp_path: Path) -> None:
    first = Cache(tmp_path / "in" / "cache.sqlite")
    assert first.get("k") is None
    first.put("k", {"score": 0.1, "text": "naïve"})
    first.put("k", {"score": 0.9})
    again = Cache(tmp_path / "in" / "cache.sqlite")
    assert again.get("k") == {"score": 0.1, "text": "naïve"}
    assert len(again) == 1


def test_sums_add_up_over_processes(tmp_path: Path) -> None:
    Cache(tmp_path / "cache.sqlite").add("spent", {"calls": 2, "read": 5})
    again = Cache(tmp_path / "cache.sqlite")
    again.add("spent", {"calls": 1})
    assert again.total("spent") == {"calls": 3, "read": 5} and again.total("other") == {}


def test_threads_share_it(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache.sqlite")
    threads = [threading.Thread(target=lambda i=i: [cache.put(f"{i}.{j}", j) for j in range(20)]) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cache) == 80


def test_a_file_of_something_else_is_said(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, but long enough to be looked at as one" * 40)
    with pytest.raises(ConfigError, match="cannot be used"):
        Cache(tmp_path / "notes.txt")
