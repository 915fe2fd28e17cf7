"""One option of another library: its name, our keys, and how its value becomes ours."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any, Union, get_type_hints

from postlude.recipe import documents
from postlude.validation import members, tag


class Untranslatable(Exception):
    """The value, or the name under this method, has no counterpart here. The text is the reason."""


class Lacking(Untranslatable):
    """The method has no such setting at all."""


class Ineffective(Exception):
    """The option changes nothing: it is not set, or another one switches it off. The text is the reason."""


@dataclass
class View:
    """What a conversion may look at: the other library's settings that were given, and ours in force so far."""

    schema: Any
    base: Mapping[str, Any]
    """What the method sets."""
    values: Mapping[str, Any]
    foreign: Mapping[str, Any]

    def theirs(self, name: str, default: Any = None) -> Any:
        value = self.foreign.get(name)
        return default if value is None else value

    def ours(self, path: str, default: Any = None) -> Any:
        place: Any = self.merged
        for name in path.split("."):
            if not isinstance(place, Mapping) or name not in place:
                return default
            place = place[name]
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
        schema, values = self.schema, self.merged
        for name in path.split("."):
            options = [m for m in members(schema) if is_dataclass(m)]
            kind = values.get("kind") if isinstance(values, Mapping) else None
            hints = [get_type_hints(m, include_extras=True) for m in options if kind in (None, tag(m))]
            found = tuple(h[name] for h in hints if name in h)
            if not found:
                return False
            schema = Union[found]  # noqa: UP007
            values = values.get(name) if isinstance(values, Mapping) else None  # type: ignore[assignment]
        return True


Outputs = dict[str, Any]
Convert = Callable[[Any, View], Outputs]


@dataclass(frozen=True)
class Alias:
    """One row of the table.

    Without `convert` the value goes to the first of `ours` that the method has, through `values` where given.
    `weak` outputs give way to anything else that sets their key. `short`: the last part of the name works too.
    """

    library: str
    name: str
    ours: tuple[str, ...]
    convert: Convert | None = None
    values: Mapping[Any, Any] | None = None
    weak: tuple[str, ...] = ()
    short: bool = False
    note: str = ""
    only_imported: bool = False
    """Acts only where a whole file is imported; in a recipe it is refused like any other engine setting."""

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

    def _rename(self, value: Any, view: View) -> Outputs:
        if self.values is not None:
            value = _looked_up(value, self.values)
        for path in self.ours:
            if view.has(path):
                return {path: value}
        raise lacking(view, *self.ours)


def _looked_up(value: Any, values: Mapping[Any, Any]) -> Any:
    key = value if isinstance(value, str | bool) else str(value)
    if key not in values:
        allowed = ", ".join(dict.fromkeys(str(k) for k in values))
        raise Untranslatable(f"no counterpart of {value!r} here; known: {allowed}")
    return values[key]


def lacking(view: View, *paths: str) -> Lacking:
    """The error for keys that the method does not have."""
    factor = paths[0].rpartition(".")[0]
    kind = view.ours(f"{factor}.kind")
    which = f" (its {factor} is {kind})" if kind else ""
    return Lacking(f"it is {' or '.join(paths)}, which method {view.method} does not have{which}")


@dataclass(frozen=True)
class Refused:
    """Names (with * wildcards) without a counterpart, and why. Values in `neutral` are what happens here anyway."""

    library: str
    names: tuple[str, ...]
    why: str
    neutral: tuple[Any, ...] = ()
    decide: bool = False
    """Whether the user has to do something about it."""


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


# -------------------------------------------------------------------------------------- conversions both use


def kl_weight(value: Any, view: View) -> Outputs:
    """A KL coefficient goes where the method has one: in its link, its reward, or its loss (0 switches that off)."""
    if view.ours("objective.score") == "log_odds":
        return {"objective.link_coef": value}
    for path in ("objective.link.beta", "objective.advantage.kl_coef"):
        if view.has(path):
            return {path: value}
    return kl_loss_weight(value, view)


def kl_loss_weight(value: Any, view: View) -> Outputs:
    """The coefficient of a KL term in the loss; 0 switches the term off."""
    if view.ours("objective.hinge"):
        raise Untranslatable(
            f"method {view.method} holds the policy back with objective.hinge, not with a KL coefficient"
        )
    if view.ours("objective.kind") != "token":
        raise lacking(view, "objective.kl.coef")
    return {"objective.kl": None} if float(value) == 0 else {"objective.kl.coef": value}


def clip_both(value: Any, view: View) -> Outputs:
    """One number for both sides of the clip."""
    if view.ours("objective.surrogate.kind") == "cispo":
        raise Untranslatable("cispo caps the ratio itself: give objective.surrogate.ratio_max (5 is its default)")
    return {"objective.surrogate.low": value, "objective.surrogate.high": value}


def gae_lambda(value: Any, view: View) -> Outputs:
    """Lambda of GAE; DRPO's lam is something else."""
    if view.ours("objective.advantage.kind") != "gae":
        raise lacking(view, "objective.advantage.lam")
    return {"objective.advantage.lam": value}


def of_critic(path: str) -> Convert:
    """A setting of the value term, which only methods with a critic have."""

    def convert(value: Any, view: View) -> Outputs:
        if view.ours("objective.value") is None:
            raise lacking(view, path)
        return {path: value}

    return convert


def share_of_steps(value: Any, view: View) -> Outputs:
    """Warm-up as a share of the run. A file that leaves the number of steps open leaves this open too."""
    if value and view.theirs("importing") and "steps" not in view.values:
        raise Untranslatable(f"a share of the steps, which the file leaves open: schedule.warmup = {value:g} x steps")
    return {"schedule.warmup": math.ceil(value * view.ours("steps", 100))}


def lora_rank(value: Any, view: View) -> Outputs:
    """0 is no adapter."""
    return {"model.lora": None} if value == 0 else {"model.lora.rank": value}


def decay(value: Any, final: float = 0.0) -> Outputs:
    """Their schedules fall to `final` (0 unless given); a constant one has no final rate."""
    name = {"constant_with_warmup": "constant"}.get(value, value)
    if name not in ("constant", "linear", "cosine"):
        raise Untranslatable(f"no schedule {value!r} here; there are constant, linear and cosine")
    return {"schedule.decay": name} | ({} if name == "constant" else {"schedule.final": final})


def no_top_k(value: Any, view: View) -> Outputs:
    """-1 and 0 are off."""
    return {"sampling.top_k": max(int(value), 0)}


COMMON = (
    Alias("common", "kl_coef", ("objective.advantage.kl_coef", "objective.kl.coef", "objective.kl"), kl_weight),
    Alias("common", "value_coef", ("objective.value.coef",), of_critic("objective.value.coef")),
    Alias("common", "gae_lambda", ("objective.advantage.lam",), gae_lambda),
)
"""Names of papers and older code."""
