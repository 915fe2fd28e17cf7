"""Other libraries' names in a recipe become ours, with the user's line kept for every later message."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields
from typing import Any

from postlude.errors import Problem
from postlude.recipe.documents import COMMAND_LINE, Document, assign
from postlude.recipe.foreign import trl, verl
from postlude.recipe.foreign.alias import COMMON, Alias, Ineffective, Outputs, Untranslatable, View
from postlude.recipe.foreign.refused import refusal

ALIASES = (*verl.ALIASES, *trl.ALIASES, *COMMON)
"""Every name that is understood, in the order they are applied."""
NAMES = {name: alias for alias in reversed(ALIASES) for name in alias.names}
_ORDER = {id(alias): i for i, alias in enumerate(ALIASES)}


@dataclass(frozen=True)
class Found:
    """A foreign setting of a document."""

    alias: Alias
    name: str
    """As the user wrote it."""
    value: Any
    where: str
    default: bool = False
    """Whether it is what the other library does where its file is silent: gives way to everything."""


@dataclass
class Translation:
    """What became of the foreign settings of a document."""

    done: list[tuple[Found, Outputs]] = field(default_factory=list[tuple[Found, Outputs]])
    idle: list[tuple[Found, str]] = field(default_factory=list[tuple[Found, str]])
    """Those without an effect, and why."""
    failed: list[tuple[Found, Untranslatable]] = field(default_factory=list[tuple[Found, Untranslatable]])
    """Those without a counterpart, and why."""
    clashes: list[Problem] = field(default_factory=list[Problem])

    @property
    def lines(self) -> list[str]:
        """`num_generations -> group_size (TRL)` for each."""
        told = [f"{f.name} -> {_shown(f, outputs)} ({f.alias.library})" for f, outputs in self.done]
        return told + [f"{f.name}: no effect, {why} ({f.alias.library})" for f, why in self.idle]


def _shown(found: Found, outputs: Outputs) -> str:
    same = all(value == found.value for value in outputs.values())
    return ", ".join(path if same else f"{path} = {_plain(value)}" for path, value in outputs.items())


def _plain(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def translate(document: Document, schema: Any, base: Mapping[str, Any]) -> list[Problem]:
    """Rewrite a recipe's foreign names in place; returns the problems. `base` is what the method sets.

    Our own names win. On one side (the file, or the command line) both names with different values are an error;
    between the two the command line wins, whichever name it uses.
    """
    found, problems = take(document, {f.name for f in fields(schema)})
    done = apply(document, found, schema, base)
    for one, why in done.failed:
        problems.append(
            Problem("not-translatable", f"{one.name} ({one.alias.library}): {why}.", key=one.name).at(one.where)
        )
    document.renamed += done.lines
    return problems + done.clashes


def take(document: Document, roots: set[str]) -> tuple[list[Found], list[Problem]]:
    """Remove the foreign settings of a recipe; those known to have no counterpart are problems at once."""
    values = deepcopy(document.values)
    found: list[Found] = []
    problems: list[Problem] = []
    for keys, path, value in list(_foreign(values, roots)):
        where = document.where(path) or "recipe"
        alias = NAMES.get(path)
        if alias and not alias.only_imported:
            found.append(Found(alias, path, value, where))
        else:
            row = refusal(path)
            assert row
            problems.append(
                Problem(
                    "not-translatable", f"unknown key {path!r} ({row.library}): {row.why}. Leave it out.", key=path
                ).at(where)
            )
        _remove(values, keys)
    document.values = values
    return found, problems


Keys = tuple[str, ...]


def _foreign(values: Mapping[str, Any], roots: set[str], above: Keys = ()) -> Iterator[tuple[Keys, str, Any]]:
    """(keys, path, value) of every setting with a name of the table, or one that is known to be refused."""
    for key, value in values.items():
        keys = (*above, str(key))
        path = ".".join(keys)
        mine = path.partition(".")[0] in roots
        inside = _foreign(value, roots, keys) if isinstance(value, Mapping) else ()
        if mine and (path in roots or (path in NAMES and _is_ours(path))):
            yield from inside
        elif path in NAMES or refusal(path, exact=True):
            yield keys, path, value
        elif inside and value:
            yield from inside
        elif not mine and refusal(path):
            yield keys, path, value


def _is_ours(path: str) -> bool:
    """Names that mean the same here and there: seed, model.path."""
    return path in NAMES[path].ours


def _remove(values: dict[str, Any], keys: Keys) -> None:
    """Delete a leaf, and the mappings it leaves empty."""
    name, *rest = keys
    if rest:
        _remove(values[name], tuple(rest))
    if not rest or not values[name]:
        del values[name]


def apply(
    document: Document,
    found: Iterable[Found],
    schema: Any,
    base: Mapping[str, Any],
    yielding: Collection[str] = (),
    facts: Mapping[str, Any] | None = None,
) -> Translation:
    """Set our keys for each foreign setting, in the order of the table.

    `yielding` keys of the document give way to all of them; `facts` are what conversions know besides.
    """
    result = Translation()
    found, result.clashes = _once_each(sorted(found, key=lambda f: _ORDER[id(f.alias)]))
    foreign = {f.alias.name: f.value for f in found} | dict(facts or {})
    weakly = set(yielding)
    for one in found:
        try:
            outputs = one.alias.apply(one.value, View(schema, base, document.values, foreign))
        except Ineffective as why:
            result.idle.append((one, str(why)))
            continue
        except Untranslatable as why:
            result.failed.append((one, why))
            continue
        _enforce(document, one, outputs, weakly, result)
    return result


def _once_each(found: Sequence[Found]) -> tuple[list[Found], list[Problem]]:
    """An option under two of its names: the command line's goes before the file's; on one side they must agree."""
    kept: list[Found] = []
    clashes: list[Problem] = []
    for one in found:
        at = next((i for i, other in enumerate(kept) if other.alias is one.alias and not one.default), None)
        if at is None:
            kept.append(one)
        elif _on_command_line(kept[at].where) != _on_command_line(one.where):
            kept[at] = one if _on_command_line(one.where) else kept[at]
        elif kept[at].value != one.value:
            first = kept[at]
            sentence = (
                f"{one.name} is {_plain(one.value)}, but {first.where}: {first.name}, which is the same option, is "
                f"{_plain(first.value)}. Keep one of the two."
            )
            clashes.append(Problem("contradiction", sentence, key=one.name).at(one.where))
    return kept, clashes


def _on_command_line(where: str) -> bool:
    return where.startswith(COMMAND_LINE)


def _of_another_library(place: str, alias: Alias) -> bool:
    """Whether a key was set by a name of a library that knows nothing of this one's finer options."""
    other = NAMES.get(place.rpartition(": ")[2])
    return other is not None and other.library != alias.library


def _enforce(document: Document, one: Found, outputs: Outputs, weakly: set[str], result: Translation) -> None:
    """Set what one foreign setting asks for, and note what of it is in force."""
    kept: Outputs = {}
    for path, value in outputs.items():
        clash = _set(document, one, path, value, weakly)
        result.clashes += [clash] if clash else []
        if _lookup(document, path)[1] == value:
            kept[path] = value
    if kept:
        result.done.append((one, kept))
    else:
        result.idle.append((one, f"{' and '.join(outputs)} set by another key"))


def _set(document: Document, one: Found, path: str, value: Any, weakly: set[str]) -> Problem | None:
    """Put a value at one of our keys, unless something stronger is there; returns the clash, if it is one."""
    taken, old, place = _lookup(document, path)
    weak = one.default or path in one.alias.weak
    if taken and old == value:
        return None
    ours, theirs = _on_command_line(place), _on_command_line(one.where)
    rival = taken and ours == theirs and not one.default and _of_another_library(place, one.alias)
    if taken and (rival or not any(path == w or path.startswith(w + ".") for w in weakly)):
        if (ours and not theirs) or (weak and ours == theirs and not rival):
            return None
        if ours == theirs:
            asked = f"{one.name} asks for {path} = {_plain(value)}"
            there = f"{place or 'recipe'} sets {_given(document, path)} to {_plain(old)}"
            return Problem("contradiction", f"{asked}, but {there}. Keep one of the two.", key=path).at(one.where)
    weakly.add(path) if weak else weakly.discard(path)
    assign(document, path, deepcopy(value), f"{one.where}: {one.name}")
    return None


def _lookup(document: Document, path: str) -> tuple[bool, Any, str]:
    """(whether the user set it, to what, where); a null or text above it counts."""
    place: Any = document.values
    for name in path.split("."):
        if not isinstance(place, Mapping):
            return True, place, document.where(path)
        if name not in place:
            return False, None, ""
        place = place[name]
    return True, place, document.where(path)


def _given(document: Document, path: str) -> str:
    """The path as it was given: the key itself, or the one above it that ends there."""
    place: Any = document.values
    given: list[str] = []
    for name in path.split("."):
        if not isinstance(place, Mapping):
            break
        given.append(name)
        place = place[name]
    return ".".join(given)
