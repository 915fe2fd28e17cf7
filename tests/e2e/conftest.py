"""The world that whole runs learn in: taught once, and a copy of it for every file of tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.learning import add_judged, make_world


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("taught"))


@pytest.fixture(scope="module")
def world(taught: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `tests.learning.make_world`."""
    folder = tmp_path_factory.mktemp("world")
    return shutil.copytree(taught, folder, symlinks=True, dirs_exist_ok=True)


@pytest.fixture(scope="module")
def judged(world: Path) -> Path:
    """The world with answers that were judged."""
    return add_judged(world)
