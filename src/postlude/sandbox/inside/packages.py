"""Packages beyond the standard library that programs may import: loaded before any program starts, or not at all."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping

ONE_THREAD: dict[str, str] = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""What keeps numpy's libraries from starting threads, which no fork would have."""


def load(folders: Mapping[str, str]) -> None:
    """Import each from its folder. Raises OSError where one cannot be."""
    os.environ.update(ONE_THREAD)
    try:
        for name, folder in folders.items():
            sys.path.insert(0, folder)
            importlib.import_module(name)
            sys.path.remove(folder)
    except ImportError as error:
        raise OSError(f"cannot load a package: {error}") from error
    finally:
        os.environ.clear()
