"""Other libraries' names in a recipe become ours, with the user's line kept for every later message."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields
from typing import Any

from postlude.errors import Problem
from postlude.recipe.documents import COMMAND_LINE, Document, assign
from postlude.recipe.foreign.alias import Alias, Ineffective, Outputs, Untranslatable, View, mapping
from postlude.recipe.foreign.tables import ALIASES, NAMES, refusal

_ORDER = {id(alias): i for i, alias in enumerate(ALIASES)}


@dataclass(frozen=True)
class Setting:
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

    done: list[tuple[Setting, Outputs]] = field(default_factory=list[tuple[Setting, Outputs]])
    idle: list[tuple[Setting, str]] = field(default_factory=list[tuple[Setting, str]])
    """Those without an effect, and why."""
    failed: list[tuple[Setting, Untranslatable]] = field(default_factory=list[tuple[Setting, Untranslatable]])
    """Those without a counterpart, and why."""
    clashes: list[Problem] = field(default_factory=list[Problem])

    @property
    def lines(self) -> list[str]:
        """`num_generations -> group_size (TRL)` for each."""
        changed = [f"{f.name} -> {_shown(f, outputs)} ({f.alias.library})" for f, outputs in self.done]
        return changed + [f"{f.name}: no effect, {why} ({f.alias.library})" for f, why in self.idle]


def _shown(setting: Setting, outputs: Outputs) -> str:
    same = all(value == setting.value for value in outputs.values())
    return ", ".join(path if same else f"{path} = {_plain(value)}" for path, value in outputs.items())


def _plain(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def translate(document: Document, schema: Any, base: Mapping[str, Any]) -> list[Problem]:
    """Rewrite a recipe's foreign names in place; returns the problems. `base` is what the method sets.

    Our own names win. On one side (the file, or the command line) both names with different values are an error;
    between the two the command line wins, whichever name it uses.
    """
    settings, problems = take(document, {f.name for f in fields(schema)})
    done = apply(document, settings, schema, base)
    for one, why in done.failed:
        problems.append(
            Problem("not-translatable", f"{one.name} ({one.alias.library}): {why}.", key=one.name).at(one.where)
        )
    document.renamed += done.lines
    return problems + done.clashes


def take(document: Document, roots: set[str]) -> tuple[list[Setting], list[Problem]]:
    """Remove the foreign settings of a recipe; those known to have no counterpart are problems at once."""
    values = deepcopy(document.values)
    settings: list[Setting] = []
    problems: list[Problem] = []
    for keys, path, value in list(_foreign(values, roots)):
        where = document.where(path) or "recipe"
        alias = NAMES.get(path)
        if alias and not alias.only_imported:
            settings.append(Setting(alias, path, value, where))
        else:
            row = refusal(path)
            assert row
            sentence = f"unknown key {path!r} ({row.library}): {row.why}. {row.remedy}"
            problems.append(Problem("not-translatable", sentence, key=path).at(where))
        _remove(values, keys)
    document.values = values
    return settings, problems


Keys = tuple[str, ...]


def _foreign(values: Mapping[str, Any], roots: set[str], above: Keys = ()) -> Iterator[tuple[Keys, str, Any]]:
    """(keys, path, value) of every setting with a name of the table, or one that is known to be refused."""
    for key, value in values.items():
        keys = (*above, str(key))
        path = ".".join(keys)
        is_root = path.partition(".")[0] in roots
        inside = _foreign(mapping(value), roots, keys) if isinstance(value, Mapping) else ()
        if is_root and (path in roots or (path in NAMES and _is_ours(path))):
            yield from inside
        elif path in NAMES or refusal(path, exact=True):
            yield keys, path, value
        elif inside and value:
            yield from inside
        elif not is_root and refusal(path):
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
    settings: Iterable[Setting],
    schema: Any,
    base: Mapping[str, Any],
    yielding: Collection[str] = (),
    facts: Mapping[str, Any] | None = None,
) -> Translation:
    """Set our keys for each foreign setting, in the order of the table.

    `yielding` keys of the document give way to all of them; `facts` are what conversions know besides.
    """
    result = Translation()
    settings, result.clashes = _once_each(sorted(settings, key=lambda f: _ORDER[id(f.alias)]))
    foreign = {f.alias.name: f.value for f in settings} | dict(facts or {})
    weakly = set(yielding)
    for one in settings:
        try:
            outputs = one.alias.apply(one.value, View(schema, base, document.values, foreign, one.alias))
        except Ineffective as why:
            result.idle.append((one, str(why)))
            continue
        except Untranslatable as why:
            result.failed.append((one, why))
            continue
        _enforce(document, one, outputs, weakly, result)
    return result


def _once_each(settings: Sequence[Setting]) -> tuple[list[Setting], list[Problem]]:
    """An option under two of its names: the command line's goes before the file's; on one side they must agree."""
    single: list[Setting] = []
    clashes: list[Problem] = []
    for one in settings:
        at = next((i for i, other in enumerate(single) if other.alias is one.alias and not one.default), None)
        if at is None:
            single.append(one)
        elif _on_command_line(single[at].where) != _on_command_line(one.where):
            single[at] = one if _on_command_line(one.where) else single[at]
        elif single[at].value != one.value:
            first = single[at]
            sentence = (
                f"{one.name} is {_plain(one.value)}, but {first.where}: {first.name}, which is the same option, is "
                f"{_plain(first.value)}. Keep one of the two."
            )
            clashes.append(Problem("contradiction", sentence, key=one.name).at(one.where))
    return single, clashes


def _on_command_line(where: str) -> bool:
    return where.startswith(COMMAND_LINE)


def _of_another_library(place: str, alias: Alias) -> bool:
    """Whether a key was set by a name of a library that knows nothing of this one's finer options."""
    other = NAMES.get(place.rpartition(": ")[2])
    return other is not None and other.library != alias.library


def _enforce(document: Document, one: Setting, outputs: Outputs, weakly: set[str], result: Translation) -> None:
    """Set what one foreign setting asks for, and note what of it is in force."""
    in_force: Outputs = {}
    for path, value in outputs.items():
        clash = _set(document, one, path, value, weakly)
        result.clashes += [clash] if clash else []
        if _lookup(document, path)[1] == value:
            in_force[path] = value
    if in_force:
        result.done.append((one, in_force))
    else:
        result.idle.append((one, f"{' and '.join(outputs)} set by another key"))


def _set(document: Document, one: Setting, path: str, value: Any, weakly: set[str]) -> Problem | None:
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
            there = f"{place or 'recipe'} sets {_path_set(document, path)} to {_plain(old)}"
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
        place = mapping(place)[name]
    return True, place, document.where(path)


def _path_set(document: Document, path: str) -> str:
    """The path as it was given: the key itself, or the one above it that ends there."""
    place: Any = document.values
    names: list[str] = []
    for name in path.split("."):
        if not isinstance(place, Mapping):
            break
        names.append(name)
        place = mapping(place)[name]
    return ".".join(names)
