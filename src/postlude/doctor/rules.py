"""The table of rules, and a track looked at by all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from postlude.doctor import (
    answers,
    critic,
    hacking,
    held_out,
    human,
    off_policy,
    overoptimisation,
    preferences,
    ranking,
    rates,
    scoring,
    serving,
    signal,
    stability,
    written,
)
from postlude.doctor.rule import GRAVITIES, Finding, Rule
from postlude.doctor.track import Track


def _by_name(*tables: Iterable[Rule]) -> dict[str, Rule]:
    """Name -> rule. Raises ValueError where two have one name."""
    rules: dict[str, Rule] = {}
    for rule in (rule for table in tables for rule in table):
        if rule.name in rules:
            raise ValueError(f"two rules are named {rule.name!r}")
        rules[rule.name] = rule
    return rules


RULES: Mapping[str, Rule] = _by_name(
    signal.RULES,
    rates.RULES,
    stability.RULES,
    off_policy.RULES,
    critic.RULES,
    answers.RULES,
    preferences.RULES,
    written.RULES,
    held_out.RULES,
    scoring.RULES,
    serving.RULES,
    ranking.RULES,
    overoptimisation.RULES,
    hacking.RULES,
    human.RULES,
)
"""Every symptom that is looked for, by its name; a room's file gathers those of one subject."""


def examine(track: Track, rules: Iterable[Rule] | None = None) -> list[Finding]:
    """What holds at the track's newest step, the worst first."""
    findings = [rule.look(track) for rule in (RULES.values() if rules is None else rules)]
    return sorted((finding for finding in findings if finding is not None), key=lambda f: GRAVITIES.index(f.gravity))
