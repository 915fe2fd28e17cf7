"""Whether the arguments of a built-in reward have the types and bounds that its factory's signature says."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import field, make_dataclass
from functools import cache
from typing import Any, get_type_hints

from postlude.errors import Problem
from postlude.recipe import Document, validate
from postlude.words import closest


def problems_of(use: str, factory: Callable[..., Any], given: Mapping[str, Any]) -> list[Problem]:
    """Everything wrong with `args`, each as a sentence."""
    known = inspect.signature(factory).parameters
    unknown = [name for name in given if name not in known]
    strange = [Problem("unknown-key", f"has no argument {name!r};{_hint(name, known)}", key=name) for name in unknown]
    values = {name: value for name, value in given.items() if name not in unknown}
    wrong = validate(_schema(factory), values, Document({}))[1]
    if unknown:  # the misspelt one is the one that seems to be missing
        wrong = [problem for problem in wrong if not problem.endswith(" is missing.")]
    return [problem.within(f"reward {use} ") for problem in strange] + [
        problem.within(f"reward {use}: args: ") for problem in wrong
    ]


def _hint(name: str, known: Collection[str]) -> str:
    close = closest(name, known)
    return f" did you mean {close!r}?" if close else f" it has {', '.join(known) or 'none'}."


@cache
def _schema(factory: Callable[..., Any]) -> type:
    """A dataclass with a field for every argument that has a type. What `**others` takes is in `passes_to`."""
    hints: dict[str, Any] = {}
    for source in (*vars(factory).get("passes_to", ()), factory):
        hints |= get_type_hints(source, include_extras=True)
    known = inspect.signature(factory).parameters
    required = [(n, hints[n]) for n, p in known.items() if n in hints and p.default is p.empty and not _by_keyword(p)]
    others = [(n, hints[n], field(default=None)) for n in known if n in hints and n not in {r[0] for r in required}]
    made = make_dataclass("Arguments", [*required, *others], frozen=True)
    made.__pydantic_config__ = {"allow_inf_nan": False}  # type: ignore[attr-defined]
    return made


def _by_keyword(parameter: inspect.Parameter) -> bool:
    return parameter.kind is parameter.KEYWORD_ONLY
