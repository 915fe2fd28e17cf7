"""Reading TRL and verl configurations: YAML, JSON, and verl's overrides in a text or shell script."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from postlude.errors import ConfigError
from postlude.plain_yaml import parse
from postlude.recipe.foreign.alias import Trainer, listed, mapping
from postlude.recipe.foreign.tables import NAMES, refusal, trainers

VERL_ROOTS = (
    "actor_rollout_ref",
    "algorithm",
    "critic",
    "data",
    "trainer",
    "reward_model",
    "optim",
    "engine",
    "model",
    "reward",
)
LONGEST = 50_000
"""Characters of a configuration."""
_OVERRIDE = re.compile(r"[+~]{0,2}([A-Za-z_]\w*(?:[.@/][\w@/]+)+)=(.*)", re.DOTALL)
_ASSIGNMENT = re.compile(r"^\s*(?:export\s+)?([A-Za-z_]\w*)=(\"[^\"]*\"|'[^']*'|\$\(\(.*?\)\)|[^\s#;]*)", re.MULTILINE)
_VARIABLE = re.compile(r"\$\{(\w+)(?::?-([^${}]*))?\}|\$(\w+)")
_SUM = re.compile(r"\$\(\(([^()]*(?:\([^()]*\)[^()]*)*)\)\)")
_REFERENCE = re.compile(r"\$\{(?:oc\.select:)?([\w.]+)(?:,\s*([^}]*))?\}")


@dataclass(frozen=True)
class Source:
    """A file as it was read: flat names of the other library, and their values."""

    path: Path
    library: str
    settings: Mapping[str, Any]


def read(path: Path) -> Source:
    """The settings of a file. Raises ConfigError where it is neither TRL's nor verl's."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # not UTF-8, or a NUL in the name
        raise ConfigError(f"cannot read {str(path)!r}: {error}", code="cannot-read") from error
    if len(text) > LONGEST:
        raise ConfigError(
            f"{str(path)!r} has {len(text):,} characters (limit {LONGEST:,}): no configuration is that long.",
            code="not-translatable",
        )
    values = _mapping(text, path.name)
    if values is None:
        settings = overrides(text)
        library = "verl" if settings else ""
    else:
        flat = _flat(values)
        library = _library(values, flat)
        settings = flat if library == "verl" else values
    if not library:
        raise ConfigError(_neither(path, values), code="not-translatable")
    return Source(path, library, _settled(settings) if library == "verl" else settings)


def _mapping(text: str, name: str) -> dict[str, Any] | None:
    """The text as a YAML (or JSON) mapping; None where it is something else."""
    parsed = parse(text)
    values = parsed.values
    if not isinstance(values, dict):
        return None
    if parsed.problems:
        raise ConfigError(parsed.at(name))
    return {**values}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if inner := mapping(value):
            flat |= _flat(inner, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _library(values: Mapping[str, Any], flat: Mapping[str, Any]) -> str:
    """TRL, verl, or nothing where the names are not of either."""
    if "method" in values:
        return ""
    verl = [k for k in flat if k.partition(".")[0] in VERL_ROOTS and _known(k, "verl")]
    trl = [k for k in values if _known(k, "TRL")]
    if verl and len(verl) >= len(trl):
        return "verl"
    return "TRL" if trl and 2 * len(trl) >= len(values) else ""


def _known(name: str, library: str) -> bool:
    alias = NAMES.get(name)
    return (alias is not None and alias.library in (library, "common")) or refusal(name, library) is not None


def _neither(path: Path, values: Mapping[str, Any] | None) -> str:
    if values and "method" in values:
        return f"{str(path)!r} is a postlude recipe already: it names a method. See it with postlude config show."
    seen = f"its keys are {', '.join(list(values)[:6])}" if values else "no key of either was found in it"
    return (
        f"{str(path)!r} is neither a TRL nor a verl configuration: {seen}. Give the YAML of `trl grpo --config`, the "
        "JSON of a GRPOConfig, verl's YAML, or a text or shell script with verl's key=value overrides."
    )


def trainer_of(source: Source, wanted: str | None) -> tuple[Trainer, bool]:
    """(the kind of file, whether it was guessed between several). Raises ConfigError where nothing tells."""
    kinds = [t for t in trainers() if t.library == source.library]
    names = ", ".join(t.name for t in kinds)
    if wanted:
        chosen = [t for t in kinds if t.name == wanted]
        if not chosen:
            raise ConfigError(
                f"{source.library} has no trainer {wanted!r} here; give one of {names}.", code="unknown-name"
            )
        return chosen[0], False
    if source.library == "verl":
        online = any(k.startswith(("actor_rollout_ref.", "algorithm.")) for k in source.settings)
        return kinds[0] if online else kinds[1], False
    scores = {t.name: _score(t, source) for t in kinds}
    best = max(scores.values())
    chosen = [t for t in kinds if scores[t.name] == best]
    if best == 0:
        raise ConfigError(
            f"{str(source.path)!r} is a TRL configuration, but nothing in it tells for which trainer. Say which with "
            f"--trainer: {names}.",
            code="missing-option",
        )
    return chosen[0], len(chosen) > 1


def _score(trainer: Trainer, source: Source) -> float:
    """How many settings belong to this trainer, with the file's name as a hint."""
    marks = sum(any(fnmatchcase(key, mark) for mark in trainer.marks) for key in source.settings)
    loss = next(iter(listed(source.settings.get("loss_type"))), None)
    if loss is not None and loss not in trainer.losses:
        return 0
    marks += loss is not None
    return marks + 0.5 * (trainer.name in re.split(r"[^a-z]+", source.path.stem.lower()))


# ------------------------------------------------------------------------------------------- overrides, shell


def overrides(text: str) -> dict[str, Any]:
    """verl's `key=value` of a text or shell script; plain variables and sums of the script are filled in."""
    text = text.replace("\\\n", " ")
    variables = {name: value.strip("\"'") for name, value in _ASSIGNMENT.findall(text)}
    settings: dict[str, Any] = {}
    for word in _words(_SUM.sub(lambda m: _sum(m.group(1), variables, 5) or m.group(0), text)):
        match = _OVERRIDE.fullmatch(word)
        if match:
            settings[match.group(1)] = _value(_filled(match.group(2), variables))
    return settings


def _words(text: str) -> list[str]:
    """Words of a script, line by line, so that one odd line spoils only itself."""
    words: list[str] = []
    for line in text.splitlines():
        try:
            words += shlex.split(line, comments=True)
        except ValueError:
            words += line.split()
    return words


def _filled(text: str, variables: Mapping[str, str], depth: int = 5) -> str:
    """Shell variables and sums replaced where the script sets them, or by their default; others stay."""
    if not depth:
        return text
    new = _SUM.sub(lambda m: _sum(m.group(1), variables, depth) or m.group(0), text)
    new = _VARIABLE.sub(lambda m: _variable(m, variables), new)
    return new if new == text else _filled(new, variables, depth - 1)


def _variable(match: re.Match[str], variables: Mapping[str, str]) -> str:
    name, default = match.group(1) or match.group(3), match.group(2)
    known = variables.get(name)
    if known is not None and not re.search(rf"\$\{{?{name}\b", known):
        return known
    default_of_known = _VARIABLE.fullmatch(known) if known else None  # X=${X:-default}
    default = default_of_known.group(2) if default_of_known else default
    return match.group(0) if default is None else default.strip("\"'")


_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: int.__add__,
    ast.Sub: int.__sub__,
    ast.Mult: int.__mul__,
    ast.Div: int.__floordiv__,
}


def _sum(text: str, variables: Mapping[str, str], depth: int) -> str | None:
    """The whole number of shell arithmetic with + - * /; None where it is anything else."""
    bare = re.sub(r"\$?\{?\b([A-Za-z_]\w*)\}?", lambda m: _filled(f"${m.group(1)}", variables, depth - 1), text)

    def number(node: ast.expr) -> int:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return node.value
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](number(node.left), number(node.right))
        raise ValueError

    try:
        return str(number(ast.parse(bare.strip(), mode="eval").body))
    except (ValueError, SyntaxError, ZeroDivisionError):
        return None


def _value(text: str) -> Any:
    """A value as hydra reads it: YAML, with a variable that is not known left as text."""
    if "$" in text:
        return re.sub(r"\$\(?(\w+)", r"${\1}", text) if "${" not in text else text
    parsed = parse(text)
    return text if parsed.problems else parsed.values


def _settled(settings: Mapping[str, Any]) -> dict[str, Any]:
    """References to other settings (${a.b}, ${oc.select:a.b,default}) filled in; `???` is not set."""
    return {k: None if v == "???" else _reference(v, settings) for k, v in settings.items()}


def _reference(value: Any, settings: Mapping[str, Any], depth: int = 5) -> Any:
    if not isinstance(value, str) or not depth:
        return value

    def known(match: re.Match[str]) -> Any:
        name, default = match.groups()
        if name in settings:
            return _reference(settings[name], settings, depth - 1)
        return match.group(0) if default is None else _value(default)

    whole = _REFERENCE.fullmatch(value)
    return known(whole) if whole else _REFERENCE.sub(lambda m: str(known(m)), value)
