"""postlude explain"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Annotated, cast

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from postlude.cli.topic_view import matches, overview, page
from postlude.errors import ConfigError
from postlude.explain import topics
from postlude.explain.home import Home, first_sentence, plain
from postlude.explain.of_recipes import FOREIGN
from postlude.explain.words import search
from postlude.facts.topic import Topic
from postlude.terminal import Screen, dim


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
    several = topics.find(asked, kind, homes[-1:])
    if not several:
        several = _about(asked, kind, homes)
    if as_json:
        typer.echo(json.dumps({"asked": asked, "topics": [asdict(one) for one in several]}, indent=2))
        return
    _show(asked, several)


def _show(asked: str, several: list[Topic]) -> None:
    console = Screen()
    exact = [one for one in several if plain(one.name) == plain(asked)]
    if len(several) == 1 or len([one for one in exact if one.kind != FOREIGN.kind]) == 1:
        page(several[0], console)
        others = ", ".join(f"{one.name} ({one.kind})" for one in several[1:])
        if others:
            console.print(dim(f"\nAlso: {others}"), soft_wrap=True)
        return
    console.print(f"{len(several)} topics for {asked!r}; name one, or add --kind:\n")
    matches(several, console)


def _about(asked: str, kind: str | None, homes: tuple[Home, ...]) -> list[Topic]:
    """Topics that speak of the words of a question. Raises ConfigError, with the nearest names, where none does."""
    near = topics.nearest(asked, kind, homes[-1:])
    those = (one for home in homes if kind in (None, home.kind) for one in home.topics())
    spoken = search(asked, those) if not near or len(asked.split()) > 1 else []
    if spoken:
        return spoken
    names = " Did you mean " + " or ".join(map(repr, near)) + "?" if near else " `postlude explain` lists all there is."
    of_kind = f" of kind {kind!r}" if kind else ""
    raise ConfigError(f"there is no topic {asked!r}{of_kind}.{names}", code="unknown-name")


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
        text = " ".join((commands[name].help or "").split())
        options = [p for p in commands[name].params if isinstance(p, TyperOption) and not p.hidden]
        return Topic(
            name=name,
            title=first_sentence(text),
            kind="command",
            meaning=text,
            use=f"postlude {name} --help lists its {len(options)} options.",
            source="README.md",
            shows=(f"postlude {name} --help",),
        )

    def also(asked: str) -> list[str]:
        bare = asked.strip().removeprefix("postlude ")
        return [name for name in commands if plain(name) == plain(bare)]

    return Home("command", "commands", lambda: tuple(commands), command, also)


def _walk(group: TyperGroup, prefix: str) -> Iterable[tuple[str, TyperCommand]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _walk(command, f"{prefix}{name} ")
        elif isinstance(command, TyperCommand):
            yield prefix + name, command
