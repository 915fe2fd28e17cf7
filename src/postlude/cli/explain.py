"""postlude explain"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Annotated, cast

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from postlude.cli.topic_view import matches, overview, page
from postlude.errors import ConfigError
from postlude.explain import topics
from postlude.explain.home import Home, first_sentence, plain
from postlude.explain.of_measures import CHECKS, SUITES
from postlude.explain.of_recipes import FOREIGN
from postlude.explain.words import content, methods_in, search
from postlude.facts.settings import ROW as SETTING
from postlude.facts.topic import Topic
from postlude.terminal import Screen, dim

SECOND = frozenset((FOREIGN.kind, SUITES.kind, CHECKS.kind))
"""Kinds whose names give way to the same name of another: `code` is the reward before the suite."""
FEW = 8
"""Numbered names that an error lists one by one."""


def explain(
    context: typer.Context,
    topic: Annotated[
        list[str] | None,
        typer.Argument(
            help="A figure, key, method, reward, error code, command, concept or question; nothing lists all."
        ),
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Only topics of this kind; alone it lists them.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say what something means: its unit, formula, usual range, use, limits, source, and place in the code."""
    homes = (*topics.HOMES, commands_of(cast(TyperGroup, context.find_root().command)))
    _require_kind(kind, homes)
    if not topic:
        _list(kind, homes, as_json)
        return
    asked = " ".join(topic)
    several = topics.named(asked, kind, homes[-1:])
    named = bool(several)
    several = several or _about(asked, kind, homes)
    if as_json:
        values = {"asked": asked, "named": named, "topics": [asdict(one) for one in several]}
        typer.echo(json.dumps(values, indent=2))
        return
    _show(asked, several, named)


def _show(asked: str, several: list[Topic], named: bool) -> None:
    console = Screen()
    page_of = _the_one(asked, several) if named else None
    if page_of is not None:
        page(page_of, console)
        others = ", ".join(f"{one.name} ({one.kind})" for one in several if one is not page_of)
        if others:
            console.print(dim(f"\nAlso: {others}"), soft_wrap=True)
        return
    methods = methods_in(asked)
    if len(methods) > 1:
        console.print(f"Side by side: postlude methods --compare {' '.join(methods)}\n")
    head = "{} topics for {!r}; name one, or add --kind:" if named else "No topic is named {1!r}. What speaks of it:"
    console.print(head.format(len(several), asked) + "\n")
    matches(several, console)


def _the_one(asked: str, several: list[Topic]) -> Topic | None:
    """The topic that is meant: the only one, the only one of that spelling, or of that name but for its spelling."""
    ours = [one for one in several if one.kind not in SECOND] or several
    spelt = [one for one in ours if one.name == asked]
    exact = [one for one in ours if plain(one.name) == plain(content(asked))]
    return next((few[0] for few in (several, spelt, exact) if len(few) == 1), None)


def _about(asked: str, kind: str | None, homes: tuple[Home, ...]) -> list[Topic]:
    """Topics that speak of the words of a question. Raises ConfigError, with the nearest names, where none does."""
    numbered = topics.family(asked, kind)
    if numbered:
        return _of_family(asked, numbered, homes)
    asked_of = [home for home in homes if home.kind == kind or (kind is None and home.kind != FOREIGN.kind)]
    spoken = search(asked, (one for home in asked_of for one in home.topics()))
    if spoken:
        return spoken
    near = topics.nearest(asked, kind, homes[-1:])
    names = " Did you mean " + " or ".join(map(repr, near)) + "?" if near else " `postlude explain` lists all there is."
    of_kind = f" of kind {kind!r}" if kind else ""
    raise ConfigError(f"there is no topic {asked!r}{of_kind}.{names}", code="unknown-name")


def _of_family(asked: str, numbered: list[str], homes: tuple[Home, ...]) -> list[Topic]:
    """The topic of all the numbers. Raises ConfigError, with the numbers there are, where there is none."""
    head = re.split(r"[\s=]+[\d.]", asked, maxsplit=1)[0]
    whole = [one for one in topics.find(head, more=homes[-1:]) if one.kind == SETTING]
    if whole:
        return whole
    some = ", ".join(numbered) if len(numbered) <= FEW else f"{', '.join(numbered[:2])} to {numbered[-1]}"
    kind = next(home.kind for home in homes if numbered[0] in home.names())
    raise ConfigError(
        f"there is no topic {asked!r}; there are {some} (postlude explain --kind {kind!r}).", code="unknown-name"
    )


def _require_kind(kind: str | None, homes: Iterable[Home]) -> None:
    kinds = [home.kind for home in homes]
    if kind is not None and kind not in kinds:
        near = [one for one in kinds if plain(kind) in plain(one) or plain(one) in plain(kind)]
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"there is no kind {kind!r}; there are: {', '.join(kinds)}.{hint}", code="not-a-choice")


def _list(kind: str | None, homes: tuple[Home, ...], as_json: bool) -> None:
    shown = [home for home in homes if kind in (None, home.kind)]
    if as_json:
        names: Mapping[str, list[str]] = {home.kind: list(home.names()) for home in shown}
        typer.echo(json.dumps({"kinds": names}, indent=2))
    elif kind:
        matches([one for home in shown for one in home.topics()], Screen())
    else:
        console = Screen()
        overview(shown, console)
        console.print(
            "postlude explain TOPIC shows one; a question in words will do: postlude explain why is my reward flat"
        )


def commands_of(root: TyperGroup) -> Home:
    """The commands of the program."""
    commands = dict(_walk(root, ""))

    def command(name: str) -> Topic:
        text, *more = [" ".join(part.split()) for part in (commands[name].help or "").split("\n\n")]
        options = [p for p in commands[name].params if isinstance(p, TyperOption) and not p.hidden]
        return Topic(
            name=name,
            title=first_sentence(text),
            kind="command",
            meaning="\n\n".join((text, *more)),
            use=f"postlude {name} --help lists its {len(options)} options.",
            source="README.md",
            words=tuple(name for name in _options(commands[name]) if name.startswith("--")),
            shows=(f"postlude {name} --help",),
        )

    def also(asked: str) -> list[str]:
        bare = asked.strip().removeprefix("postlude ")
        by_option = [name for name in commands if asked.startswith("-") and asked in _options(commands[name])]
        return [name for name in commands if plain(name) == plain(bare)] + by_option

    return Home("command", "commands", lambda: tuple(commands), command, also)


def _options(command: TyperCommand) -> list[str]:
    return [name for parameter in command.params for name in parameter.opts]


def _walk(group: TyperGroup, prefix: str) -> Iterable[tuple[str, TyperCommand]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _walk(command, f"{prefix}{name} ")
        elif isinstance(command, TyperCommand):
            yield prefix + name, command
