"""Recipes as text: reading YAML with line numbers, and overriding keys. `validation` holds them against the schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from postlude.errors import ConfigError, Problem
from postlude.plain_yaml import parse
from postlude.shapes import is_dict, is_list, is_mapping, is_series
from postlude.validation import as_json, shown
from postlude.words import closest

COMMAND_LINE = "command line"
"""Where a setting of it comes from."""
PYTHON = "Python"
"""Where a setting of a call comes from."""
OUTSIDE = (COMMAND_LINE, PYTHON)
EACH_GPU = "gpus"
"""As `engine.trainers`: one for each GPU of this machine, at least 2; resolved to a number (`recipe.ranking`)."""
ENGINES: dict[str, str | int] = {"ray": EACH_GPU, "local": 1}
"""What `engine` may be in a word -> its `trainers`."""


@dataclass
class Document:
    """Nested values of a recipe, and where each came from (dotted path -> `recipe.yaml line 3`, `command line`)."""

    values: dict[str, Any]
    origin: dict[str, str] = field(default_factory=dict[str, str])
    set_by_user: set[str] = field(default_factory=set[str])
    """Dotted paths of the leaves that the user gave, short forms written out."""
    renamed: list[str] = field(default_factory=list[str])
    """Settings given under another library's name, each as a line for the user: what it became."""
    folder: Path | None = None
    """Where the recipe's file is: its paths are read from there."""
    run: Path | None = None
    """The run whose recipe it is."""
    moved: dict[str, str] = field(default_factory=dict[str, str])
    """Key -> a line for the user, of each path of that run that leads nowhere any more: where its file was met."""
    notes: list[str] = field(default_factory=list[str])
    """What else the user should know about how the recipe was read."""

    def source(self, path: str) -> str:
        """Where the value in force came from: a line, the command line, the method, or `default`."""
        if path in self.set_by_user:
            return self.where(path)
        return self.origin.get(path, "default")

    def is_users(self, path: str) -> bool:
        """Whether the user set a key beside the recipe: on the command line, or from Python."""
        return self.where(path) in OUTSIDE

    def where(self, path: str) -> str:
        """Where a dotted path was set, or its nearest parent; empty where nothing was."""
        while path:
            if path in self.origin:
                return self.origin[path]
            path = path.rpartition(".")[0]
        return ""


def read(path: Path) -> Document:
    """A recipe file. Raises ConfigError with the line of each mistake in the YAML itself."""
    name = str(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(f"recipe {name!r} does not exist.{_nearby(path)}", code="no-such-file") from error
    except (OSError, ValueError) as error:  # UnicodeDecodeError and a NUL in the name are ValueErrors
        raise ConfigError(f"cannot read recipe {name!r}: {error}", code="cannot-read") from error
    document = from_text(text, path.name)
    document.folder = path.parent
    return document


def from_text(text: str, name: str) -> Document:
    """A recipe's text, of which `name` tells where a setting came from. Its paths are of the current folder."""
    parsed = parse(text)
    problems = parsed.at(name)
    values: Any = {} if parsed.values is None else parsed.values
    if not is_dict(values):
        problems.append(
            Problem("wrong-type", f"{name}: a recipe is a mapping of keys to values, found {shown(values)}.", name)
        )
    if problems:
        raise ConfigError(problems)
    origin = {key: f"{name} line {line}" for key, line in parsed.lines.items()}
    return Document(values, origin)


def _nearby(path: Path) -> str:
    folder = path.parent if path.parent.is_dir() else Path()
    close = closest(path.name, [p.name for p in folder.glob("*.y*ml")])
    return f" Did you mean {str(folder / close)!r}?" if close else ""


# -------------------------------------------------------------------------------------------------- command line


def override(document: Document, assignments: Sequence[str], key_of: Callable[[str], str] = lambda name: name) -> None:
    """Apply `key.sub=value` from the command line; values are YAML. `key_of`: the whole key of a name, for advice.

    The order does not matter: a key comes before those inside it, and one that is given twice must be the same twice.
    """
    problems: list[Problem] = []
    assigned: dict[str, Any] = {}
    skip = False
    for i, text in enumerate(assignments):
        key, equals, value = text.partition("=")
        key = key.strip()
        if skip:
            skip = False
        elif text.startswith("-"):
            following = assignments[i + 1] if i + 1 < len(assignments) and not equals else value
            skip = not equals and bool(following) and "=" not in following
            problems.append(_flag(key.lstrip("-").replace("-", "_"), following, key_of))
        elif not equals or not re.fullmatch(r"[A-Za-z_][\w.-]*", key) or ".." in key or key.endswith("."):
            problems.append(
                Problem("not-key-value", f"{text!r} is not KEY=VALUE (for example group_size=16).").at(COMMAND_LINE)
            )
        else:
            parsed, wrong = _value_of(key, value)
            problems += wrong
            if key in assigned and as_json(assigned[key]) != as_json(parsed):
                problems.append(
                    Problem(
                        "given-twice", f"{key} is given as {shown(assigned[key])} and as {shown(parsed)}.", key=key
                    ).at(COMMAND_LINE)
                )
            assigned[key] = parsed
    problems += _contradictions(assigned)
    for key in sorted(assigned, key=lambda k: k.count(".")):
        try:
            assign(document, key, assigned[key], COMMAND_LINE)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)


def _flag(name: str, value: str, key_of: Callable[[str], str]) -> Problem:
    option = closest(name.replace("_", "-"), ("resume", "accept-changes", "help"))
    advice = f"did you mean --{option}?" if option else f"settings are KEY=VALUE: {key_of(name)}={value or 'VALUE'}."
    return Problem("unknown-option", f"--{name} is no option; {advice}", key=f"--{name}").at(COMMAND_LINE)


def _value_of(key: str, text: str) -> tuple[Any, list[Problem]]:
    """A value of the command line: YAML, or the text itself where it is none."""
    parsed = parse(text)
    if not parsed.is_yaml:
        return text, []
    joined = next(iter(_without_space(parsed.values, text)), None)
    if joined is not None:
        name, _, value = joined.partition(":")
        said = f"{key}: {joined!r} is one name without a value. A colon takes a space: {{{name}: {value}}}."
        return None, [Problem("not-key-value", said, key=key).at(COMMAND_LINE)]
    return parsed.values, [Problem(p.code, f"{key}: {p}.", key=key).at(COMMAND_LINE) for _, p in parsed.problems]


def _without_space(values: Any, text: str) -> Iterator[str]:
    """Names such as `cut-off:pause` in `{cut-off:pause}`: YAML takes them for a name alone."""
    for name, value in values.items() if is_dict(values) else ():
        bare = value is None and re.search(rf"(?<!['\"]){re.escape(str(name))}\s*[,}}]", text)
        if bare and re.fullmatch(r"[\w.-]+:[\w.-]+", str(name)):
            yield str(name)
        yield from _without_space(value, text)


def _contradictions(assigned: Mapping[str, Any]) -> list[Problem]:
    """A key that is switched off or set, with another that changes what it says rather than adding to it."""
    keys = sorted(assigned, key=lambda k: k.count("."))
    return [
        Problem(
            "contradiction",
            f"{first} is {shown(assigned[first])}, and {other} "
            f"{'sets a part of it' if other.startswith(f'{first}.') else 'takes its place'}. Keep one of the two.",
            key=first,
        ).at(COMMAND_LINE)
        for i, first in enumerate(keys)
        for other in keys[i + 1 :]
        if first.partition(".")[0] == other.partition(".")[0] and _changes(assigned, first, other)
    ]


def _changes(assigned: Mapping[str, Any], first: str, other: str) -> bool:
    """Whether something that `first` sets is another once `other` is set."""
    document = Document({})
    try:
        assign(document, first, deepcopy(assigned[first]), COMMAND_LINE)
        before = [*flat(long_form(deepcopy(document.values)))]
        assign(document, other, assigned[other], COMMAND_LINE)
    except ConfigError:  # it is told where both are set
        return False
    after = dict(flat(long_form(document.values)))
    return any(path not in after or after[path] != value for path, value in before if value != {})


def long_form(values: Mapping[str, Any]) -> dict[str, Any]:
    """Short forms written out: `model: path`, `data: path` or a list of sets, `reward: name` or a list of them,
    `engine: ray`."""
    result = dict(values)
    engine = result.get("engine")
    if isinstance(engine, str) and engine in ENGINES:
        result["engine"] = {"trainers": ENGINES[engine]}
    for key in ("model", "data", "pretrain"):
        if isinstance(result.get(key), str):
            result[key] = {"path": result[key]}
    if is_list(result.get("data")):
        result["data"] = {"mix": result["data"]}
    data = result.get("data")
    if is_dict(data) and is_list(data.get("mix")):
        data = result["data"] = {**data, "mix": [{"path": s} if isinstance(s, str) else s for s in data["mix"]]}
    if is_dict(data) and isinstance(data.get("eval"), dict | list):
        result["data"] = {**data, "eval": _held_out(data["eval"])}
    sampling = result.get("sampling")
    if is_dict(sampling) and isinstance(sampling.get("stop"), str):
        result["sampling"] = {**sampling, "stop": [sampling["stop"]]}
    if "reward" in result:
        result["reward"] = _entries_of(result["reward"])
    evaluate = result.get("evaluate")
    if is_dict(evaluate):
        result["evaluate"] = _evaluation(evaluate)
    if is_dict(result.get("shaping")) and not _by_number(result["shaping"]):
        result["shaping"] = [result["shaping"]]
    return result


def _entries_of(rewards: Any) -> Any:
    """A reward, or a list of them, as a list of mappings."""
    listed: Any = [rewards] if isinstance(rewards, str | dict) else rewards
    return [{"use": r} if isinstance(r, str) else r for r in listed] if is_list(listed) else listed


def _evaluation(values: Mapping[str, Any]) -> dict[str, Any]:
    """`metrics` as `reward`; `sheet: true`, or a path."""
    result = dict(values)
    if "metrics" in result:
        result["metrics"] = _entries_of(result["metrics"])
    sheet = result.get("sheet")
    if sheet is True or isinstance(sheet, str):
        result["sheet"] = {"path": sheet} if isinstance(sheet, str) else {}
    elif sheet is False:
        result["sheet"] = None
    return result


def _held_out(sets: Any) -> Any:
    """A list of paths, or paths by name, as a list of mappings."""
    if is_list(sets):
        return [{"path": one} if isinstance(one, str) else one for one in sets]
    if not is_dict(sets) or _by_number(sets):
        return sets
    pairs = [(name, one) for name, files in sets.items() for one in (files if is_list(files) else [files])]
    return [{"name": str(name), **one} if is_dict(one) else {"path": one, "name": str(name)} for name, one in pairs]


def _by_number(value: Any) -> bool:
    """Whether a mapping changes single entries of a list below it, as `shaping.0.factor=2` does with the method's."""
    return is_dict(value) and bool(value) and all(str(key).isdigit() for key in value)


def assign(document: Document, path: str, value: Any, origin: str) -> None:
    """Set one key, mappings above it made where they are missing, and note where it came from.

    `data=X` leaves data.eval alone, `data.columns=...` a `data: X`, `engine=ray` all but engine.trainers. Raises
    ConfigError where a list has no such entry.
    """
    if "." in path or is_dict(document.values.get(path)):
        document.values.update(long_form(document.values))
    if path in ("model", "data", "pretrain") and is_dict(document.values.get(path)):
        if not is_dict(value) and value is not None:
            path = f"{path}.{'mix' if is_list(value) else 'path'}"
    if path == "engine" and is_dict(document.values.get(path)) and isinstance(value, str) and value in ENGINES:
        path, value = "engine.trainers", ENGINES[value]
    *parents, last = _numbered(document.values, path)
    place: Any = document.values
    for name, following in pairwise([*parents, last]):
        at: Any = _index(place, name, path) if is_list(place) else name
        inner = _inside(place, at)
        if name in ("reward", "mix", "metrics") and following.isdigit() and not is_list(inner):
            raise ConfigError(
                f"{path}: there is no {name} yet to set an entry of; give {name} first.", code="no-such-entry"
            )
        place[at] = inner if isinstance(inner, dict | list) else {}
        place = place[at]
    place[_index(place, last, path) if is_list(place) else last] = value
    path = ".".join([*parents, last])
    instead = {"data.path": "mix", "data.mix": "path"}.get(path)
    if instead and value:  # the command line's data replace the recipe's
        document.values["data"].pop(instead, None)
    for stale in [p for p in document.origin if p.startswith(path + ".")]:
        del document.origin[stale]
    document.origin[path] = origin


def _inside(place: Any, at: Any) -> Any:
    """An entry of a list, or of a mapping where it is there."""
    return place.get(at) if is_dict(place) else place[at]


def _numbered(values: Any, path: str) -> list[str]:
    """The parts of a path; the only entry of a list needs no number: `reward.errors` is `reward.0.errors`."""
    parts: list[str] = []
    place: Any = values
    for name in path.split("."):
        if is_list(place) and not name.isdigit():
            if len(place) != 1:
                above = ".".join(parts)
                raise ConfigError(
                    f"{path}: {above} is a list of {len(place)}; say which, such as {above}.0.{name}.",
                    code="no-such-entry",
                )
            parts.append("0")
            place = place[0]
        parts.append(name)
        if is_list(place):
            place = place[int(name)] if len(name) < 10 and int(name) < len(place) else None
        else:
            place = place.get(name) if is_dict(place) else None
    return parts


def _index(entries: list[Any], number: str, path: str) -> int:
    if not re.fullmatch(r"\d{1,9}", number) or int(number) >= len(entries):
        there = "is 1 entry" if len(entries) == 1 else f"are {len(entries)} entries"
        raise ConfigError(
            f"{path}: there {there}, counted from 0, and {number!r} is none of them.", code="no-such-entry"
        )
    return int(number)


def merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `change` on top, mapping by mapping; another `kind` replaces a factor as a whole."""
    result = dict(base)
    for key, value in change.items():
        old = result.get(key)
        if is_list(old) and _by_number(value):
            result[key] = _entries(old, value, key)
            continue
        same_kind = is_dict(old) and is_dict(value) and value.get("kind", old.get("kind")) == old.get("kind")
        result[key] = merge(old, value) if same_kind else value  # type: ignore[arg-type]
    return result


def _entries(below: Sequence[Any], change: Mapping[str, Any], key: str) -> list[Any]:
    result = [*below]
    for number, value in change.items():
        at = _index(result, number, f"{key}.{number}")
        result[at] = merge(result[at], value) if is_mapping(value) else value
    return result


def flat(values: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """(dotted path, value) of every leaf."""
    if is_mapping(values) and values:
        for key, value in values.items():
            yield from flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif is_series(values) and values and is_mapping(values[0]):
        for i, value in enumerate(values):
            yield from flat(value, f"{prefix}.{i}")
    else:
        yield prefix, values
