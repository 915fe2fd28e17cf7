"""Which settings may be others when a run goes on: the one table, and what it says of two sets of settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from postlude.recipe.documents import flat
from postlude.recipe.places import FILES, OBJECTS, OTHERS, REWARDS, exists
from postlude.shapes import is_mapping, is_series
from postlude.words import counted

Rule = Literal["never", "settings", "data", "eval", "pretrain", "reward", "metric", "judge", "sheet", "content", "free"]
"""never: the checkpoint would not fit. A word of `--accept-changes`: it fits, but the run would be another one.
content: a path; what is there is compared. free: noted."""

HOW = ("cache", "args.cache", "errors", "abstain", "concurrency", "timeout")
"""Of a reward or metric: how it is asked, and not what it says."""
RULES: dict[str, Rule] = {
    **dict.fromkeys((path for path in (*FILES, *OTHERS) if not path.startswith(REWARDS)), "content"),
    "engine.servers.python": "free",
    "output": "free",
    "method": "never",
    "model": "never",
    "objective.kind": "never",
    "objective.score": "never",
    "max_lag": "never",
    "engine.kind": "never",
    "engine.dtype": "never",
    "model.lora*": "never",
    "model.reference": "settings",
    "model.reference.*": "free",
    "critic": "never",
    "critic.form": "never",
    "critic.*": "free",
    "pretrain": "never",
    "sampler*": "never",
    **dict.fromkeys((f"{key}.*.{name}" for key in REWARDS for name in HOW), "free"),
    "reward*": "reward",
    "evaluate.metrics*": "metric",
    "data.on_bad_row": "free",
    "data.eval*": "eval",
    "data*": "data",
    "pretrain.rows": "pretrain",
    "pretrain.*": "free",
    "seed": "settings",
    "group_size": "settings",
    "keep": "settings",
    "shaping": "settings",
    "kl_control": "settings",
    "*.kind": "settings",
    "correct_above": "settings",
    "steps": "free",
    "budget*": "free",
    "prompts_per_step": "free",
    "updates": "free",
    "epochs": "free",
    "sampling*": "free",
    "engine*": "free",
    "optimizer*": "free",
    "schedule*": "free",
    "evaluate*": "free",
    "checkpoint*": "free",
    "keep_checkpoints": "free",
    "objective*": "free",
    "keep.*": "free",
    "shaping.*": "free",
    "kl_control.*": "free",
    "stop_kl": "free",
    "alarms*": "free",
    "watchdog": "free",
}
"""Key, or pattern of keys -> the rule of what matches it first."""
LONGEST = 120
"""Characters of a value in a message."""


@dataclass
class Differences:
    """Settings that differ, each as `seed 0 -> 1`."""

    never: list[str] = field(default_factory=list[str])
    asked: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """By the word that accepts them."""
    free: list[str] = field(default_factory=list[str])


def rule_of(key: str) -> Rule:
    """What holds of a dotted key."""
    return next(rule for pattern, rule in RULES.items() if fnmatchcase(key, pattern))


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Differences:
    """Between the resolved settings a run stood on and those it is to go on with. A key that one of the two does not
    know, as of another postlude, is left out; of a part that one of the two has not, the part itself is told."""
    old, new = dict(flat(before)), dict(flat(now))
    result = Differences()
    for key in sorted({*old, *new}):
        then, today = _inside(old, key), _inside(new, key)
        if _is_within(key, old) or _is_within(key, new) or not then or not today or _same(key, then[0], today[0]):
            continue
        text = f"{key} {str(then[0])[:LONGEST]} -> {str(today[0])[:LONGEST]}"
        rule = rule_of(key)
        if rule == "never":
            result.never.append(text)
        elif rule == "free":
            result.free.append(text)
        elif rule != "content":
            result.asked.setdefault(rule, []).append(text)
    _add_other_lengths(before, now, result)
    return result


def _add_other_lengths(before: Mapping[str, Any], now: Mapping[str, Any], result: Differences) -> None:
    """Entries that a list of mappings has lost or got: of one that only one of the two has, no key is compared."""
    old, new = dict(_lengths(before)), dict(_lengths(now))
    for key in sorted({*old} & {*new}):
        rule = rule_of(key)
        if old[key] == new[key] or rule == "content":
            continue
        text = f"{key}: {counted(old[key], 'entry', 'entries')} -> {new[key]}"
        if rule == "never":
            result.never.append(text)
        elif rule == "free":
            result.free.append(text)
        else:
            result.asked.setdefault(rule, []).append(text)


def _lengths(values: Any, prefix: str = "") -> Iterator[tuple[str, int]]:
    """(dotted key, entries) of every list of mappings; those inside of an entry are not looked at."""
    if is_mapping(values):
        for name, value in values.items():
            yield from _lengths(value, f"{prefix}.{name}" if prefix else str(name))
    elif is_series(values) and values and is_mapping(values[0]):
        yield prefix, len(values)


def _is_within(key: str, values: Mapping[str, Any]) -> bool:
    """Whether a key is inside of a part that these have as one value, such as `critic: null`."""
    return any(key[:i] in values for i, letter in enumerate(key) if letter == ".")


def _inside(values: Mapping[str, Any], key: str) -> tuple[Any] | tuple[()]:
    """What is under a key: its value, or the keys and values inside of it, in a tuple; empty of an unknown one."""
    if key in values:
        return (values[key],)
    inside = {name.removeprefix(f"{key}."): one for name, one in values.items() if name.startswith(f"{key}.")}
    return (inside,) if inside else ()


def _same(key: str, old: Any, new: Any) -> bool:
    """Whether two values say the same; of a path to something that is there its content is compared elsewhere."""
    if old == new:
        return True
    if not (isinstance(old, str) and isinstance(new, str)):
        return False
    if any(fnmatchcase(key, pattern) for pattern in OBJECTS):
        return Path(old).name == Path(new).name
    return any(fnmatchcase(key, pattern) for pattern in OTHERS) and exists(Path(new).expanduser())
