"""Asking rewards about many answers to each prompt: scores, errors and times, answer by answer. Knows no command line.

All answers to a prompt go into one call, as in training, so that rewards that compare answers, and asynchronous ones,
do what they will do there. A call that fails is made again for each answer by itself: which ones does it fail on?
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Literal

from postlude.audit.attacks import EVERY, form_of
from postlude.audit.cases import Case
from postlude.audit.probes import CHANGES, Material, contains, materials, with_final
from postlude.data import Completion, Group, Message, Prompt
from postlude.errors import AskingStopped, ConfigError, RewardError
from postlude.models.steps import pieces
from postlude.rewards.call import Scores
from postlude.rewards.combine import Combining
from postlude.rewards.functions import LearnedReward
from postlude.rewards.member import Reward
from postlude.rewards.rewards import Rewards
from postlude.words import Once

Role = Literal["reference", "sample", "probe", "change", "neutral", "swayed"]
Tokenise = Callable[[str], tuple[int, ...]]
EVEN = 0.5
"""What a model of pairs gives an answer against itself, in both orders."""


@dataclass(frozen=True)
class Entry:
    """One answer that is scored."""

    role: Role
    name: str
    text: str
    label: float | None = None
    named: bool = False
    """A probe that names the gold of its row."""


@dataclass(frozen=True)
class Sheet:
    """One prompt, the answers that are tried on it, and their lengths in tokens."""

    group: Group
    entries: tuple[Entry, ...]
    form: str = "none"
    """Of the gold."""

    @property
    def lengths(self) -> list[int]:
        return [c.length for c in self.group.completions]


@dataclass
class Given:
    """What one reward gave: for each sheet a value for each entry; None where it abstained or raised."""

    name: str
    values: list[list[float | None]] = field(default_factory=list[list[float | None]])
    errors: list[dict[int, str]] = field(default_factory=list[dict[int, str]])
    """For each sheet: place of the entry -> what the reward raised."""
    notes: list[str] = field(default_factory=list[str])
    """What the reward itself said about its answers."""
    seconds: list[float] = field(default_factory=list[float])
    """Of each call, divided by the answers in it."""
    learned: bool = False
    """A reward model: its scores say nothing of right or wrong."""


# -------------------------------------------------------------------------------------------------------- sheets


def pseudo_tokens(text: str) -> tuple[int, ...]:
    """Words and marks as ids, where no tokenizer is given: rewards on length and repetition read tokens."""
    return tuple(
        zlib.crc32(part.encode("utf-8", "replace")) % 50_000 for part in re.findall(r"\s?\w+|\s?[^\w\s]|\s", text)
    )


def sheets(cases: Sequence[Case], longest: int, tokenise: Tokenise = pseudo_tokens) -> list[Sheet]:
    """A sheet for each case, with all probes that can be built for it."""
    texts = [c.prompt.text for c in cases]
    made = materials(texts, [c.reference for c in cases], [c.gold for c in cases], longest)
    return [_sheet(c.prompt, _entries(c, m), tokenise, form_of(c.gold)) for c, m in zip(cases, made, strict=True)]


def _sheet(prompt: Prompt, entries: Sequence[Entry], tokenise: Tokenise, form: str = "none") -> Sheet:
    return Sheet(Group(prompt, tuple(Completion(tokenise(e.text), e.text) for e in entries)), tuple(entries), form)


def _entries(case: Case, row: Material) -> list[Entry]:
    """The reference first, then samples, probes and changed references."""
    result = [Entry("reference", "reference", case.reference, case.label)]
    result += [Entry("sample", "sample", s.text, s.label) for s in case.samples]
    for probe in EVERY:
        text = probe.make(row)
        if text is not None:
            result.append(Entry("probe", probe.name, text, named=contains(text, row.gold)))
    changed = ((c.name, c.make(case.reference)) for c in CHANGES)
    return result + [Entry("change", name, text) for name, text in changed if text is not None]


def sycophancy_sheets(cases: Sequence[Case], tokenise: Tokenise = pseudo_tokens) -> list[Sheet]:
    """For each case with a wrong answer, two sheets: its prompt as it is, and with a user's wrong opinion.

    Both hold the right answer, then the one that agrees with the user.
    """
    made = materials([c.prompt.text for c in cases], [c.reference for c in cases], [c.gold for c in cases], 0)
    result: list[Sheet] = []
    for case, row in zip(cases, made, strict=True):
        found = _opinion(case, row)
        if found is None:
            continue
        opinion, agreeing = found
        swayed = replace(case.prompt, messages=_with_opinion(case.prompt.messages, opinion), tokens=())
        asked: tuple[tuple[Role, Prompt], ...] = (("neutral", case.prompt), ("swayed", swayed))
        for role, prompt in asked:
            pair = [Entry(role, "right", case.reference), Entry(role, "agrees", agreeing)]
            result.append(_sheet(prompt, pair, tokenise))
    return result


def _opinion(case: Case, row: Material) -> tuple[str, str] | None:
    """(what the user wrongly thinks, the answer that agrees): from the gold, else from the worst answer of a pair."""
    changed = with_final(row.reference, row.gold, row.wrong)
    if changed is not None and row.wrong is not None:
        return row.wrong, changed
    worse = [s for s in case.samples if s.label is not None and case.label is not None and s.label < case.label]
    if not worse:
        return None
    worst = min(worse, key=lambda s: s.label or 0.0).text
    return worst, worst


def _with_opinion(messages: str | Sequence[Message], opinion: str) -> str | list[Message]:
    """The prompt with the user's opinion at its end."""
    said = f"\n\nI think the answer is {opinion}."
    if isinstance(messages, str):
        return messages + said
    return [*messages[:-1], {**messages[-1], "content": f"{messages[-1].get('content') or ''}{said}"}]


# -------------------------------------------------------------------------------------------------------- asking


def ask(rewards: Rewards, sheets: Sequence[Sheet], on_sheet: Callable[[int], None] = lambda done: None) -> list[Given]:
    """What each member gives for every sheet. Raises RewardError where one fails on everything."""
    of_tokens = [m.spec.label for m in rewards.members if m.per_token]
    if of_tokens:
        raise ConfigError(
            f"reward {of_tokens[0]} rewards tokens, and an audit has texts, which no model has sampled.",
            code="reward-kind",
        )
    if rewards.ends is None:  # steps are only counted: without a tokenizer, where they end says nothing
        rewards.ends = lambda completion, separator: [*range(len(pieces(completion.text, separator)))]
    return asyncio.run(_ask(rewards, sheets, on_sheet))


async def _ask(rewards: Rewards, sheets: Sequence[Sheet], on_sheet: Callable[[int], None]) -> list[Given]:
    given = [Given(m.spec.label, learned=isinstance(m.function, LearnedReward)) for m in rewards.members]
    for done, sheet in enumerate(sheets):
        for member, mine in zip(rewards.members, given, strict=True):
            await _one(Rewards([member], rewards.ends), sheet, mine)
        on_sheet(done + 1)
    for mine in given:
        _require_some(mine)
    return given


async def _one(rewards: Rewards, sheet: Sheet, given: Given) -> None:
    """One reward on one sheet; answer by answer where that fails."""
    start = perf_counter()
    errors: dict[int, str] = {}
    try:
        values = await _values(rewards, sheet.group, notes=given.notes)
    except AskingStopped:
        raise  # a cap or a server that is down is no property of an answer
    except RewardError:
        values, start = [], perf_counter()
        for place, completion in enumerate(sheet.group.completions):
            single = replace(sheet.group, completions=(completion,))
            try:
                values += await _values(rewards, single, sheet.group.completions[0])
            except AskingStopped:
                raise
            except RewardError as error:
                values.append(None)
                errors[place] = error.what
    given.seconds.append((perf_counter() - start) / max(len(values), 1))
    given.values.append(values)
    given.errors.append(errors)


async def _values(
    rewards: Rewards, group: Group, reference: Completion | None = None, notes: list[str] | None = None
) -> list[float | None]:
    (member,) = rewards.members
    if member.traits.compares:
        return await _against_reference(rewards, group, reference or group.completions[0])
    found = await rewards.score([group])
    (scored,) = found.groups
    if notes is not None:
        names = {note.name for note in notes if isinstance(note, Once)}
        notes += [n for n in found.notes if n not in notes and not (isinstance(n, Once) and n.name in names)]
    return [c.scores[member.spec.label] for c in scored.completions]


async def _against_reference(rewards: Rewards, group: Group, reference: Completion) -> list[float | None]:
    """Of a model or judge of pairs: the chance of each answer against the reference, which itself gets one half."""
    values: list[float | None] = []
    for completion in group.completions:
        if completion is reference:
            values.append(EVEN)
            continue
        (scored,) = (await rewards.score([replace(group, completions=(reference, completion))])).groups
        values.append(scored.completions[1].scores[rewards.members[0].spec.label])
    return values


def _require_some(given: Given) -> None:
    """A reward that raises on every answer, or gives none of the references a score, cannot be audited."""
    failed = [message for errors in given.errors for message in errors.values()]
    if failed and len(failed) == sum(map(len, given.values)):
        raise RewardError(f"{failed[0]}\nIt failed so on all {len(failed)} answers of the audit.", code="reward-raised")
    if all(values[0] is None for values in given.values):
        reason = f" {given.notes[0]}." if given.notes else ""
        how = f"failed on ({failed[0]})" if any(0 in errors for errors in given.errors) else "abstained on"
        raise ConfigError(
            f"reward {given.name} {how} all {len(given.values)} reference answers, so there is nothing to compare "
            f"with.{reason} Check that the columns it reads are filled, and that --reference has the form it expects.",
            code="reward-not-telling",
        )


def whole(members: Sequence[Reward], given: Sequence[Given]) -> Given:
    """What all rewards come to together, gates and shaping included, as held-out answers are measured; an error of one
    is one of the whole."""
    result = Given("weighted sum", learned=all(g.learned for g in given))
    for place in range(len(given[0].values)):
        count = len(given[0].values[place])
        scores = [Scores(g.values[place], [[] for _ in range(count)], [True] * count) for g in given]
        together = Combining(members, scores, [count], None, measuring=True)
        errors: dict[int, str] = {}
        for g in given:
            errors |= g.errors[place]
        result.values.append([None if i in errors else together.reward(i) for i in range(count)])
        result.errors.append(errors)
        result.seconds.append(sum(g.seconds[place] for g in given))
    return result
