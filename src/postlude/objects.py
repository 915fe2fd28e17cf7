"""What a path such as `file.py:name` or `package.module:name` stands for."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from postlude.errors import ConfigError

_beside: list[str] = []
"""Folders of such files that were added to sys.path."""


@contextmanager
def imports_put_back() -> Iterator[None]:
    """Within it, a file may import what lies beside it whenever it likes; after it sys.path is what it was."""
    before = len(_beside)
    try:
        yield
    finally:
        for folder in _beside[before:]:
            with suppress(ValueError):  # somebody else has removed it
                sys.path.remove(folder)
        del _beside[before:]


def load_object(path: str, what: str) -> Any:
    """The object of `file.py:name` or `package.module:name`."""
    where, _, name = path.rpartition(":")
    try:
        module = _module_of_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except FileNotFoundError as error:
        raise ConfigError(f"{what}: file {where!r} does not exist.", code="no-such-file") from error
    except ImportError as error:
        raise ConfigError(f"{what}: cannot import {where!r}: {error}", code="cannot-import") from error
    except (Exception, SystemExit) as error:  # the user's file can raise anything while it is imported
        raise ConfigError(
            f"{what}: {where!r} raised {type(error).__name__} while being imported: {error}", code="cannot-import"
        ) from error
    if name not in vars(module) and where == "__main__":
        raise ConfigError(
            f"{what}: {name!r} was defined in the script or notebook that began the run, and this is another process. "
            f"Go on from there, or put it into a file and name that: file.py:{name}.",
            code="no-such-object",
        )
    if name not in vars(module):
        public = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise ConfigError(
            f"{what}: {where!r} has no {name!r}; it has {', '.join(public) or 'no functions'}.", code="no-such-object"
        )
    return vars(module)[name]


def _module_of_file(path: Path) -> Any:
    """The module that a file makes. It may import what lies beside it, behind all that is installed."""
    path = path.expanduser().resolve()
    if not path.exists():
        raise FileNotFoundError(path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
        _beside.append(str(path.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module
