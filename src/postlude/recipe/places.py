"""Where the files that a recipe names are.

A path in a recipe is read from the recipe's own folder, one of the command line from the folder the command runs in.
What is not beside the recipe, but in the current folder, is taken from there with a note. `output` is always of the
current folder: a recipe that many share must not write beside itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from postlude.recipe.documents import COMMAND_LINE, Document
from postlude.shapes import is_dict

FILES = ("model.chat_template", "data.path", "data.eval", "data.mix.*.path", "pretrain.path", "pretrain.eval")
OBJECTS = ("method", "reward.*.use")
"""`FILE.py:NAME`, with `verl:` or `openrlhf:` before it or not; anything else is no path."""
OTHERS = (
    *("model.path", "critic.path", "reward.*.cache"),
    *(
        f"reward.*.args.{name}"
        for name in ("path", "path.*", "model", "policy", "policy.*", "schema", "template", "principles")
    ),
    "reward.*.args.cache",
)
"""May be something else than a path that is there: a hub id, a name on a server, a file that is yet to be made."""
BESIDE = ("reward.*.args.reference", "policy")
"""A path where the second stands beside it; a judge's `reference` is a column."""
_OBJECT = re.compile(r"((?:verl:|openrlhf:)?)(.+\.py)(:\w+)", re.DOTALL)


def located(values: Mapping[str, Any], document: Document) -> dict[str, Any]:
    """The values with the paths of the recipe as the current folder sees them; what was found elsewhere is noted."""

    folder = document.folder
    if folder is not None and folder.absolute() == Path.cwd():
        folder = None

    def locate(path: str, written: str) -> str:
        if folder is None or document.where(path).startswith(COMMAND_LINE) or _is_fixed(written):
            return written
        beside = folder / written
        if exists(beside):
            return str(beside)
        if exists(Path(written)):
            document.notes.append(f"{path}: {written!r} is not in the recipe's folder; taken from the current one.")
        return written

    return _changed(values, locate)


def fixed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with every path to something that is there made absolute: for a recipe that works from anywhere."""

    def fix(path: str, written: str) -> str:
        place = Path(written).expanduser()
        return str(place.absolute()) if exists(place) else written

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
    return fnmatchcase(path, BESIDE[0]) and BESIDE[1] in holder


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
