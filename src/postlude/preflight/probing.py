"""Answers made up for real rows, to see what a reward goes by: golds in many forms, those of other rows, nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from postlude.data import Completion, Group, Prompt
from postlude.errors import RewardError
from postlude.prepared import Prepared
from postlude.rewards.functions import JudgedReward, LearnedReward, Referenced
from postlude.rewards.rewards import Rewards
from postlude.sources.forms import ANSWERS, COMPLETIONS

FORMS = (
    "{}", "#{}", "# {}", "#### {}", "\\boxed{{{}}}", "The answer is {}.", "The answer is {}", "Answer: {}", "**{}**",
    "<answer>{}</answer>", "<think>\nI see.\n</think>\n{}", "<think>\nI see.\n</think>\n<answer>\n{}\n</answer>",
    '{{"answer": "{}"}}',
)  # fmt: skip
"""How answers are given where somebody asks for a form."""
SENTENCES = ("{}", "The answer is {}.", "The answer is {}")
"""Those of them that a reward model is asked about."""
EMPTY = ("", " ", ".")
ODD = ("I do not know.", "0123456789", "abcdefghijklmnopqrstuvwxyz", "A" * 40, "yes", "no", "<think>\n</think>\n")
"""Answers that have nothing in common: what pays all of them alike pays everything alike."""
RIGHT = {*ANSWERS, *COMPLETIONS}
"""Columns that hold what a good answer says."""
LONGEST = 4000
"""Characters of a column's value that is tried as an answer."""
MOST_COLUMNS = 8
PROBED = 64
"""Prompts among which some with different answers are looked for."""
ROWS = 10
"""Asked about, of rewards that cost little; 8 and more can make a difference clear."""
FEW = 3
"""Asked about, of rewards that run programs or ask a model."""
SLOW_ANSWER = 0.02
"""Seconds for an answer, from which on only the bare form is tried."""
CHANCE = 0.01
"""How likely a difference between rows may be by chance alone, to be called clear."""
WIDE = 0.1
"""Of the spread of all rewards given: a clear difference is larger."""


@dataclass(frozen=True)
class Paid:
    """What rows' own values in a column got as answers, beside those of other rows, in the form that tells best."""

    form: str
    row: float
    """Mean reward of the rows' own values."""
    other: float
    """Mean reward of other rows' values."""
    better: int
    worse: int
    """Rows whose own value got more, or less, than that of another row."""

    @property
    def gap(self) -> float:
        return self.row - self.other

    def is_clear(self, spread: float) -> bool:
        """Whether the rows say it one after the other, by a sign test, and the difference is no small one."""
        many, few = max(self.better, self.worse), min(self.better, self.worse)
        tries = many + few
        chance = 2 * sum(math.comb(tries, k) for k in range(few + 1)) / 2**tries
        return chance < CHANCE and abs(self.gap) > WIDE * spread


@dataclass
class Probed:
    """What a reward gave for made-up answers."""

    rows: int = 0
    calls: int = 0
    answers: int = 0
    seconds: float = 0.0
    values: list[float | None] = field(default_factory=list[float | None])
    """Every reward that was given."""
    by: dict[str, Paid] = field(default_factory=dict[str, Paid])
    """Of each column."""
    empty: float | None = None
    """Mean reward of answers that say nothing."""
    good: float | None = None
    """Mean reward of whole right answers that rows hold for a built-in such as `code`; None where they hold none."""
    errors: list[tuple[str, RewardError]] = field(default_factory=list[tuple[str, RewardError]])
    """What was asked, and what it raised."""

    def goes_by(self) -> list[str]:
        """Columns whose own values are paid better than those of other rows."""
        return [name for name, paid in self.by.items() if paid.row > paid.other]

    def is_clear(self, name: str) -> bool:
        """Whether what a column's own values get differs clearly from what those of other rows get."""
        known = [x for x in self.values if x is not None]
        return self.by[name].is_clear(max(known) - min(known))


def asks_models(rewards: Rewards) -> bool:
    """Whether a model says what an answer is worth: it knows texts like those it was trained on."""
    return any(isinstance(m.function, LearnedReward | JudgedReward) for m in rewards.members)


def is_slow(rewards: Rewards) -> bool:
    """Whether a reward asks another model or runs programs: it is not asked much."""
    return asks_models(rewards) or any(m.spec.use == "code" or m.early for m in rewards.members)


def referenced(rewards: Rewards) -> list[Referenced]:
    return [m.function for m in rewards.members if isinstance(m.function, Referenced)]


def judges(rewards: Rewards) -> list[JudgedReward]:
    return [m.function for m in rewards.members if isinstance(m.function, JudgedReward)]


async def probe(prepared: Prepared, prompts: Sequence[Prompt]) -> Probed:
    """Ask the rewards of a run about made-up answers to some of its prompts; what they raise is kept."""
    rewards, result = prepared.rewards, Probed()
    slow, asked = is_slow(rewards), _different(prompts)
    chosen = asked[: 1 if judges(rewards) else FEW if slow else ROWS]
    result.rows = len(chosen)
    few = EMPTY[:1] if slow else EMPTY
    nothing = await _score(prepared, result, "an empty answer", [(p, few) for p in chosen])
    known = [x for row in nothing for x in row if x is not None]
    result.empty = sum(known) / len(known) if known else None
    if not slow:
        await _score(prepared, result, "made-up answers", [(p, ODD) for p in chosen])
    forms = SENTENCES[: 1 if judges(rewards) else None] if slow else (*dict.fromkeys([*_own_forms(rewards), *FORMS]),)
    if not slow and result.seconds > SLOW_ANSWER * result.answers:
        forms = (*dict.fromkeys([*_own_forms(rewards), *FORMS[:1]]),)
    await _good_answers(prepared, result, asked)
    goes_by_columns = len(referenced(rewards)) < len(rewards.members)
    for name in _columns(asked, slow) if goes_by_columns else ():
        await _column(prepared, result, name, chosen, asked, forms)
    return result


async def _good_answers(prepared: Prepared, result: Probed, asked: Sequence[Prompt]) -> None:
    """Ask about whole right answers, of the first rows that hold some."""
    members = referenced(prepared.rewards)
    rows = ((p, {"prompt": p.messages, **p.columns}) for p in asked)
    pairs = ((p, [a for m in members if (a := m.good_answer(row)) is not None]) for p, row in rows)
    some = list(islice((pair for pair in pairs if pair[1]), FEW))
    scores = await _score(prepared, result, "the row's own right answer", some) if some else []
    known = [x for row in scores for x in row if x is not None]
    result.good = sum(known) / len(known) if known else None


def _own_forms(rewards: Rewards) -> list[str]:
    """Forms that the settings of built-in rewards speak of."""
    marks = [str(m.spec.args["after"]) for m in rewards.members if m.spec.args.get("after")]
    return [mark.replace("{", "{{").replace("}", "}}") + "{}" for mark in marks]


def _different(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Prompts with different answers first: only they can be told apart."""
    first = {str(p.answer): p for p in reversed(prompts)}
    chosen = [p for p in prompts if first[str(p.answer)] is p]
    return [*chosen, *(p for p in prompts if first[str(p.answer)] is not p)]


def _columns(prompts: Sequence[Prompt], slow: bool) -> list[str]:
    """Columns that differ between rows and hold what could be said; `answer` first."""
    names = dict.fromkeys(("answer", *ANSWERS, *COMPLETIONS)) | {n: None for p in prompts for n in p.columns}
    there = [n for n in names if len({*filter(None, (said(p, n) for p in prompts))}) > 1]
    return [n for n in there if n in RIGHT][:1] if slow else there[:MOST_COLUMNS]


def said(prompt: Prompt, name: str) -> str | None:
    """What a column of a row says, as an answer."""
    value = prompt.columns.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = str(value)
    return text if text.strip() and len(text) <= LONGEST else None


async def _column(
    prepared: Prepared,
    result: Probed,
    name: str,
    chosen: Sequence[Prompt],
    asked: Sequence[Prompt],
    forms: Sequence[str],
) -> None:
    """Compare the rows' own values of a column with those of other rows, form by form."""
    pairs = [(p, text, other) for p in chosen if (text := said(p, name)) and (other := _other(p, name, asked))]
    if not pairs:
        return
    answers = [(p, [*(f.format(t) for f in forms), *(f.format(o) for f in forms)]) for p, t, o in pairs]
    scores = await _score(prepared, result, f'the row\'s own "{name}"', answers)
    tried = [_paid(form, [(row[i], row[i + len(forms)]) for row in scores]) for i, form in enumerate(forms)]
    known = [one for one in tried if one is not None]
    if known:
        result.by[name] = max(known, key=lambda one: abs(one.gap))


def _paid(form: str, scores: Iterable[tuple[float | None, float | None]]) -> Paid | None:
    """In a form; None where no row has both numbers."""
    both = [(a, b) for a, b in scores if a is not None and b is not None]
    if not both:
        return None
    row, other = (sum(column) / len(both) for column in zip(*both, strict=True))
    return Paid(form, row, other, sum(a > b for a, b in both), sum(a < b for a, b in both))


def _other(prompt: Prompt, name: str, prompts: Sequence[Prompt]) -> str | None:
    """What another row says in a column, where that is something else."""
    text_here = said(prompt, name)
    return next((text for p in reversed(prompts) if (text := said(p, name)) and text != text_here), None)


async def _score(
    prepared: Prepared, result: Probed, what: str, answers: Sequence[tuple[Prompt, Sequence[str]]]
) -> list[list[float | None]]:
    """The rewards of answers to prompts; nothing of a call that raised, which is kept."""
    groups = [Group(p, tuple(_completion(prepared, text) for text in texts)) for p, texts in answers]
    began = time.monotonic()
    try:
        scored = await prepared.rewards.score(groups, measuring=True)
    except RewardError as error:
        result.errors.append((what, error))
        return []
    result.seconds += time.monotonic() - began
    result.calls += 1
    rows = [[c.reward for c in g.completions] for g in scored.groups]
    result.answers += sum(len(row) for row in rows)
    result.values += [x for row in rows for x in row]
    return rows


def _completion(prepared: Prepared, text: str) -> Completion:
    """An answer that ended by itself."""
    tokenizer = prepared.facts.tokenizer
    ids = tuple(tokenizer(text, add_special_tokens=False).input_ids)
    return Completion((*ids, *sorted(prepared.facts.stop_ids)[:1]), text=text, stop="eos")
