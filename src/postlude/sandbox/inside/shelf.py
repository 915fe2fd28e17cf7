"""The standard library without a file to open: what a program may import.

A program can open nothing, so what it imports must be there before. Loading all of it makes every fork slow, because
the kernel copies the tables of each page. So only the usual modules are loaded; the code of the others lies in memory
that forks share for nothing, and that no program can change for another.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import importlib.machinery
import importlib.util
import marshal
import mmap
import os
import sys
import sysconfig
from collections.abc import Iterator
from types import CodeType, ModuleType
from typing import Any

USUAL = (
    "abc array ast bisect builtins cmath collections collections.abc contextlib copy ctypes dataclasses datetime "
    "decimal enum fractions functools gc hashlib heapq io itertools json math numbers operator os re signal string "
    "struct sys textwrap time traceback types typing unicodedata _strptime "
)
"""Loaded before any program starts. Not `random` and `threading`: they slow every fork."""

COMPILED = (
    "_bisect _blake2 _bz2 _contextvars _csv _datetime _elementtree _hashlib _heapq _json _lsprof _lzma _md5 "
    "_multiprocessing _opcode _pickle _posixshmem _posixsubprocess _queue _random _sha1 _sha2 _sha256 _sha3 _sha512 "
    "_socket _sqlite3 _ssl _statistics _struct _uuid _zoneinfo binascii fcntl grp mmap pyexpat resource select "
    "termios zlib "
)
"""Parts in machine code, loaded because they cannot be put on the shelf. Not _asyncio: it loads all of asyncio, which
does without it."""

LEFT_OUT = {
    "test",
    "idlelib",
    "lib2to3",
    "tkinter",
    "turtledemo",
    "ensurepip",
    "site-packages",
    "dist-packages",
    "pydoc_data",
}
SEALS = 0x1 | 0x2 | 0x4 | 0x8
"""F_SEAL_SEAL, SHRINK, GROW and WRITE."""


class Shelf:
    """Finds and loads modules from one block of memory."""

    def __init__(self, folder: str) -> None:
        file = os.memfd_create("shelf", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        _fill_elsewhere(file, folder)
        fcntl.fcntl(file, 1033, SEALS)  # F_ADD_SEALS
        size = os.fstat(file).st_size
        self._block = mmap.mmap(file, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
        os.close(file)
        start = int.from_bytes(self._block[-8:], "little")
        self._places: dict[str, tuple[int, int, str]] = marshal.loads(self._block[start:-8])
        """Module -> (start, end, the path it was read from)."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name not in self._places:
            return None
        origin = self._places[name][2]
        package = origin.endswith("/__init__.py")
        spec = importlib.machinery.ModuleSpec(name, self, origin=origin, is_package=package)  # type: ignore[arg-type]
        spec.has_location = True
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def get_code(self, name: str) -> CodeType:
        start, end, _ = self._places[name]
        return marshal.loads(self._block[start:end])

    def exec_module(self, module: ModuleType) -> None:
        exec(self.get_code(module.__name__), vars(module))


def _fill_elsewhere(file: int, folder: str) -> None:
    """Fill the file in another process, so that this one stays small. Raises OSError."""
    helper = os.fork()
    if helper == 0:
        try:
            _fill(file, folder)
            os._exit(0)
        finally:
            os._exit(1)
    if os.waitpid(helper, 0)[1]:
        raise OSError("cannot read the standard library")


def _fill(file: int, folder: str) -> None:
    """Code of every module, then where each is, then where that begins (8 bytes)."""
    places = {}
    with open(file, "wb", closefd=False) as out:
        for name, path in _modules(folder, ""):
            start = out.tell()
            out.write(_code(name, path))
            places[name] = (start, out.tell(), path)
        start = out.tell()
        out.write(marshal.dumps(places) + start.to_bytes(8, "little"))


def _modules(folder: str, prefix: str) -> Iterator[tuple[str, str]]:
    """(name, path) of every module written in Python in a folder and the packages in it."""
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        stem, dot, suffix = entry.name.partition(".")
        inner = f"{entry.path}/__init__.py"
        if dot and suffix == "py" and stem != "__init__":
            yield prefix + stem, entry.path
        elif not dot and stem.isidentifier() and stem not in LEFT_OUT and os.path.exists(inner):
            yield prefix + stem, inner
            yield from _modules(entry.path, f"{prefix}{stem}.")


def _code(name: str, path: str) -> bytes:
    """The module's code: from its compiled file where that is up to date, else compiled now; empty if it has errors."""
    try:
        return marshal.dumps(importlib.machinery.SourceFileLoader(name, path).get_code(name))
    except (SyntaxError, OSError, ValueError):
        return marshal.dumps(compile("raise ImportError('it cannot be compiled')", path, "exec"))


def install() -> None:
    """Load the usual modules, put the others on the shelf, and leave no other way to import."""
    for name in (USUAL + COMPILED).split():
        with contextlib.suppress(ImportError):  # not every Python has every part
            importlib.import_module(name)
    "".encode("idna").decode("idna")
    shelf = Shelf(sysconfig.get_path("stdlib"))
    frozen = [
        finder for finder in sys.meta_path if getattr(finder, "__name__", "") in ("BuiltinImporter", "FrozenImporter")
    ]
    sys.meta_path[:] = [*frozen, shelf]  # type: ignore[list-item]
    sys.path.clear()
    sys.path_importer_cache.clear()
