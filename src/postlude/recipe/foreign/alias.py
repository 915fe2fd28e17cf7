"""One option of another library: its name, our keys, and how its value becomes ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any, Union, cast, get_type_hints

from postlude.recipe import documents
from postlude.validation import members, tag


class Untranslatable(Exception):
    """The value, or the name under this method, has no counterpart here. The text is the reason."""


class Lacking(Untranslatable):
    """The method has no such setting at all."""


class Ineffective(Exception):
    """The option changes nothing: it is not set, or another one switches it off. The text is the reason."""


def mapping(value: Any) -> Mapping[str, Any]:
    """The value where it is a mapping, else an empty one."""
    return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {}


def listed(value: Any) -> list[Any]:
    """The value where it is a list, else a list of it alone."""
    return cast(list[Any], value) if isinstance(value, list) else [value]


Outputs = dict[str, Any]
"""Our keys and their values."""


@dataclass(frozen=True)
class Alias:
    """A row of the table of names (the `.toml` files of this folder, where the fields are explained).

    Without `convert` the value goes to the first of `ours` that the method has, through `values` where given.
    """

    library: str
    name: str
    ours: tuple[str, ...]
    convert: Convert | None = None
    values: Mapping[str, Any] | None = None
    weak: tuple[str, ...] = ()
    short: bool = False
    needs: str = ""
    unless_off: str = ""
    only_with: str = ""
    idle_without: str = ""
    note: str = ""
    only_imported: bool = False
    older: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, self.name.rpartition(".")[2]) if self.short else (self.name,)

    def apply(self, value: Any, view: View) -> Outputs:
        """Our keys and their values. Raises Untranslatable or Ineffective, each with the reason."""
        if value is None:
            raise Ineffective("not set")
        if isinstance(value, str) and "${" in value:
            raise Untranslatable("its value refers to another setting or variable; write the value itself")
        try:
            self._guard(view)
            outputs = self.convert(value, view) if self.convert else self._rename(value, view)
        except (
            TypeError,
            ValueError,
            ArithmeticError,
            AttributeError,
            LookupError,
        ) as error:  # of another kind or size
            raise Untranslatable(f"cannot read the value {str(value)[:60]!r}") from error
        missing = [path for path in outputs if not view.has(path)]
        if missing:
            raise lacking(view, *missing)
        return outputs

    def _guard(self, view: View) -> None:
        """Whether the method has what this belongs to, and the option that switches it lets it act."""
        key, _, wanted = self.needs.partition(" = ")
        if key and (view.ours(key) is None or (wanted and view.ours(key) != wanted)):
            raise lacking(view, self.ours[0])
        if self.unless_off and view.is_off(self.unless_off):
            raise Ineffective(f"{self.unless_off} is {_shown(view.theirs(self.unless_off))}")
        if self.only_with and (not view.theirs(self.only_with) or view.is_off(self.only_with)):
            raise Ineffective(f"{self.only_with} is off")
        if self.idle_without and view.ours(self.idle_without, "unset") is None:
            raise Ineffective(f"{self.idle_without} is null")

    def _rename(self, value: Any, view: View) -> Outputs:
        if self.values is not None:
            value = self.looked_up(value)
            if isinstance(value, dict):  # the table names our keys itself
                return {**value}
        for path in self.ours:
            if view.has(path):
                return {path: value}
        raise lacking(view, *self.ours)

    def looked_up(self, value: Any) -> Any:
        """What the row's table has for a value. Raises Untranslatable."""
        values = self.values or {}
        key = str(value).lower() if isinstance(value, bool) else str(value)
        if key not in values:
            raise Untranslatable(f"no counterpart of {value!r} here; known: {', '.join(values)}")
        return values[key]


def _shown(value: Any) -> str:
    return "off" if isinstance(value, bool | str) else str(value)


@dataclass
class View:
    """What a conversion may look at: its row, the other library's settings that were given, ours in force so far."""

    schema: Any
    base: Mapping[str, Any]
    """What the method sets."""
    values: Mapping[str, Any]
    foreign: Mapping[str, Any]
    row: Alias

    def theirs(self, name: str, default: Any = None) -> Any:
        value = self.foreign.get(name)
        return default if value is None else value

    def beside(self, last: str, default: Any = None) -> Any:
        """Their option next to this one: `a.b.len` beside `a.b.enable`."""
        return self.theirs(f"{self.section}{last}", default)

    @property
    def section(self) -> str:
        """Their name up to its last part."""
        above, dot, _ = self.row.name.rpartition(".")
        return above + dot

    def is_off(self, name: str) -> bool:
        """Whether their option was given, as false, 0 or `no`."""
        value = self.theirs(name)
        return isinstance(value, bool | int | str) and value in (False, "no")

    def ours(self, path: str, default: Any = None) -> Any:
        place: Any = self.merged
        for name in path.split("."):
            inner = mapping(place)
            if name not in inner:
                return default
            place = inner[name]
        return place

    @property
    def merged(self) -> dict[str, Any]:
        return documents.merge(self.base, self.values)

    @property
    def method(self) -> str:
        return str(self.base.get("method"))

    @property
    def passes(self) -> int:
        """Optimiser steps per draw, by which their step counts are divided."""
        return int(self.ours("epochs", 1)) * int(self.ours("updates", 1))

    def has(self, path: str) -> bool:
        """Whether the schema has this key, given the kinds of factors in force."""
        schema: Any = self.schema
        values: Any = self.merged
        for name in path.split("."):
            options = [m for m in members(schema) if is_dataclass(m)]
            kind = mapping(values).get("kind")
            hints = [get_type_hints(m, include_extras=True) for m in options if kind in (None, tag(m))]
            types = tuple(h[name] for h in hints if name in h)
            if not types:
                return False
            schema = Union[types]  # noqa: UP007
            values = mapping(values).get(name)
        return True


Convert = Callable[[Any, View], Outputs]


def lacking(view: View, *paths: str) -> Lacking:
    """The error for keys that the method does not have."""
    factor = paths[0].rpartition(".")[0]
    kind = view.ours(f"{factor}.kind")
    which = f" (its {factor} is {kind})" if kind else ""
    return Lacking(f"it is {' or '.join(paths)}, which method {view.method} does not have{which}")


@dataclass(frozen=True)
class Refused:
    """Names (with * wildcards) without a counterpart, and why."""

    library: str
    names: tuple[str, ...]
    why: str
    use: tuple[str, ...] = ()
    """Our keys to set instead."""
    neutral: tuple[Any, ...] = ()
    """Values that ask for what happens here anyway."""
    decide: bool = False
    """Whether the user has to do something about it."""
    older: tuple[str, ...] = ()
    """Those of the names that the newest release does not have."""

    @property
    def remedy(self) -> str:
        return f"Leave it out; here it is {' and '.join(self.use)}." if self.use else "Leave it out."


@dataclass(frozen=True)
class Trainer:
    """A kind of file: which settings hold where it is silent, and how its method is found."""

    library: str
    name: str
    title: str
    method: Callable[[Mapping[str, Any], Mapping[str, Any]], str]
    """(settings in force, settings given) -> name of a method here. Raises Untranslatable."""
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    constants: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Our keys that follow from the library's code, not from an option of it."""
    marks: tuple[str, ...] = ()
    """Names that few trainers but this one have."""
    losses: tuple[str, ...] = ()
    """Values of its `loss_type`."""
    differs: tuple[str, ...] = ()
    """What stays different, in sentences."""
    older: bool = False
    """Whether the newest release of the library no longer has it."""
