"""Where the files that a recipe names are.

A path in a recipe is read from the recipe's own folder, one of the command line from the folder the command runs in.
What is not beside the recipe, but in the current folder, is taken from there with a note. `output` is always of the
current folder: a recipe that many share must not write beside itself.

A run keeps whole paths. One that leads nowhere any more, since the run or what it names was moved, is looked for by its
last parts in and around the run's folder and in the current one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from postlude.errors import Problem
from postlude.recipe.documents import COMMAND_LINE, Document
from postlude.shapes import is_dict

FILES = (
    *("model.chat_template", "data.path", "data.eval", "data.eval.*.path", "data.mix.*.path", "pretrain.path"),
    *("pretrain.eval", "evaluate.sheet.path"),
)
REWARDS = ("reward", "evaluate.metrics")
"""Lists of entries that name functions, with what those read."""
OBJECTS = ("method", *(f"{key}.*.use" for key in REWARDS))
"""`FILE.py:NAME`, with `verl:` or `openrlhf:` before it or not; anything else is no path."""
OTHERS = (
    *("model.path", "critic.path", "engine.servers.python"),
    *(
        f"{key}.*.{name}"
        for key in REWARDS
        for name in (
            *("cache", "args.path", "args.path.*", "args.model", "args.policy", "args.policy.*", "args.schema"),
            *("args.template", "args.principles", "args.cache"),
        )
    ),
)
"""May be something else than a path that is there: a hub id, a name on a server, a file that is yet to be made."""
BESIDE = (tuple(f"{key}.*.args.reference" for key in REWARDS), "policy")
"""A path where the second stands beside it; a judge's `reference` is a column."""
ABOVE = 4
"""Folders above a run's own in which something that was moved is looked for."""
_OBJECT = re.compile(r"((?:verl:|openrlhf:)?)(.+\.py)(:\w+)", re.DOTALL)


def located(values: Mapping[str, Any], document: Document) -> dict[str, Any]:
    """The values with the paths of the recipe as the current folder sees them; what was found elsewhere is noted."""

    folder = document.folder
    if folder is not None and folder.absolute() == Path.cwd():
        folder = None

    def locate(path: str, written: str) -> str:
        if _is_lost(document, path, written):
            place = _moved(written, document)
            if place is not None:
                document.moved[path] = f"{path}: {written!r} is gone; taken from {str(place)!r}"
            return str(place or written)
        if folder is None or document.where(path).startswith(COMMAND_LINE) or _is_fixed(written):
            return written
        beside = folder / written
        if exists(beside):
            return str(beside)
        if exists(Path(written)):
            document.notes.append(f"{path}: {written!r} is not in the recipe's folder; taken from the current one.")
        return written

    return _changed(values, locate)


def missing(values: Mapping[str, Any], document: Document) -> list[Problem]:
    """Every path of a run's recipe that leads nowhere any more."""
    problems: list[Problem] = []

    def look(path: str, written: str) -> str:
        if _is_lost(document, path, written) and _moved(written, document) is None:
            where = f"{str(document.run)!r}, the folders above it or the current one"
            text = f"{path}: {written!r} is gone, and nothing of its name is in {where}. Put it back, or give {path}=."
            problems.append(Problem("no-such-file", text, key=path))
        return written

    _changed(values, look)
    return problems


def _is_lost(document: Document, path: str, written: str) -> bool:
    """Whether a run keeps a path to something that is no longer there; a cache may be yet to be made."""
    if document.run is None or path.endswith(".cache") or document.is_users(path):
        return False
    return Path(written).is_absolute() and not exists(Path(written))


def _moved(gone: str, document: Document) -> Path | None:
    """What has the last parts of a path that is gone, the more of them the better, near the run or in this folder."""
    assert document.run is not None
    run = document.run.absolute()
    parts = Path(gone).parts[1:]
    for start in range(len(parts)):
        for base in (run, *run.parents[:ABOVE], Path.cwd()):
            place = base.joinpath(*parts[start:])
            if exists(place) and not place.resolve().is_relative_to((run / "checkpoints").resolve()):
                return place
    return None


def written_in(values: Mapping[str, Any]) -> dict[str, str]:
    """Dotted key -> path, of every path in these values."""
    paths: dict[str, str] = {}

    def note(path: str, written: str) -> str:
        paths[path] = written
        return written

    _changed(values, note)
    return paths


def fixed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with every path to something that is there made absolute, and of what will be: for a recipe that works
    from anywhere."""

    def fix(path: str, written: str) -> str:
        place = Path(written).expanduser()
        return str(place.absolute()) if exists(place) or path.endswith(".cache") else written

    return _changed(values, fix)


def exists(path: Path) -> bool:
    """Whether something is there; False for what cannot be a path at all."""
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or with a NUL in it
        return False


def _changed(values: Mapping[str, Any], change: Callable[[str, str], str]) -> dict[str, Any]:
    """A copy of the values with `change(dotted path, path as given)` in the place of every path."""
    result = deepcopy(dict(values))
    for holder, key, path in [*_texts(result)]:
        written = holder[key]
        if any(fnmatchcase(path, p) for p in OBJECTS):
            match = _OBJECT.fullmatch(written)
            if match:
                holder[key] = match[1] + change(path, match[2]) + match[3]
        elif written and (any(fnmatchcase(path, p) for p in (*FILES, *OTHERS)) or _is_beside(path, holder)):
            holder[key] = change(path, written)
    return result


def _is_beside(path: str, holder: Any) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in BESIDE[0]) and BESIDE[1] in holder


def _texts(values: Any, prefix: str = "") -> Iterator[tuple[Any, Any, str]]:
    """(what holds it, its key there, dotted path) of every text."""
    for key, value in [*(values.items() if is_dict(values) else enumerate(values))]:
        path = f"{prefix}{key}"
        if isinstance(value, str):
            yield values, key, path
        elif isinstance(value, dict | list):
            yield from _texts(value, f"{path}.")


def _is_fixed(written: str) -> bool:
    return written.startswith(("~", "hf:")) or Path(written).is_absolute()
