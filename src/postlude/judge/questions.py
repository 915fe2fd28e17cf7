"""One answer, two, or a list of them put to a language model, and what its verdicts come to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from postlude.engines.protocol import Likely, Talk
from postlude.engines.settings import Sampling
from postlude.judge.asking import Asker
from postlude.judge.labels import clamp_label, expected_score, first_preferred
from postlude.judge.principles import Principle, choose
from postlude.judge.templates import Row, Template
from postlude.judge.verdicts import read_better, read_ranking, read_score

RUBRIC = (
    "A good answer is right, does what the question asks, is honest about what it does not know, and wastes no words."
)
SHOWN = {"score": {"answer"}, "pairs": {"first", "second"}, "list": {"answers"}}
"""Mode -> what its question must show."""
THINK = "Think first: compare in a few sentences. Do not give the verdict yet."
DECIDE = "Now give the verdict and nothing else, in the form that was asked for."


@dataclass(frozen=True)
class Question:
    """A prompt with what it takes to ask about answers to it."""

    prompt: Any
    row: Mapping[str, Any] = field(default_factory=dict[str, Any])
    reference: Any = None


@dataclass(frozen=True)
class Compared:
    """Two answers in both orders: the chance that the first is better, by each order and together."""

    forth: float
    """As given."""
    back: float
    """With the answers changed over; still of the first."""

    @property
    def p(self) -> float:
        """The mean of both orders: what the place alone decides cancels (section 10.1)."""
        return 0.5 * (self.forth + self.back)

    @property
    def flipped(self) -> bool:
        """Whether the verdict went with the place: one order prefers the first, the other the second."""
        return (self.forth - 0.5) * (self.back - 0.5) < 0

    @property
    def place(self) -> float:
        """How much the answer shown first was preferred, beyond one half."""
        return 0.5 * (self.forth + 1 - self.back) - 0.5

    @property
    def settled(self) -> float:
        """The same verdict in both orders, 1 or 0; else 0.5, a tie."""
        if self.flipped or self.p == 0.5:
            return 0.5
        return float(self.p > 0.5)


@dataclass(frozen=True)
class Judging:
    """How questions are put and verdicts read."""

    asker: Asker
    template: Template
    likelihood: bool = False
    """Verdicts come from the likelihoods of the possible replies instead of a reply."""
    low: int = 1
    high: int = 10
    rubric: str = RUBRIC
    principles: tuple[Principle, ...] = ()
    """One of them, chosen by the prompt, in place of the rubric."""
    samples: int = 1
    think: bool = False
    """Let it reason first; likelihoods are then read after the reasoning."""
    clamp: tuple[float, float] = (0.0, 1.0)
    """Chances are held within these: after reasoning they are over-confident."""
    sampling: Sampling = Sampling(temperature=0.0, max_tokens=512)

    async def scores(self, asked: Sequence[tuple[Question, str]]) -> list[float | None]:
        """A number from `low` to `high` for each answer; None where there is no readable verdict."""
        talks = [self._talk(q, answer=answer) for q, answer in asked]
        if self.likelihood:
            options = [str(x) for x in range(self.low, self.high + 1)]
            rows = await self._likelihoods(talks, options)
            return [None if x.problem else expected_score(x.values, self.low) for x in rows]
        return await self._means(talks, lambda reply, i: float(read_score(reply, self.low, self.high)))

    async def compare(self, asked: Sequence[tuple[Question, str, str]]) -> list[Compared | None]:
        """Each pair in both orders; None where one of them has no readable verdict."""
        both = [(q, *pair) for q, a, b in asked for pair in ((a, b), (b, a))]
        talks = [self._talk(q, first=a, second=b) for q, a, b in both]
        if self.likelihood:
            rows = await self._likelihoods(talks, ("1", "2"))
            chances = [None if x.problem else first_preferred((x.values[0], x.values[1])) for x in rows]
        else:
            chances = await self._means(talks, lambda reply, i: read_better(reply))
        held = [None if p is None else clamp_label(p, *self.clamp) for p in chances]
        found: list[Compared | None] = []
        for forth, back in zip(held[::2], held[1::2], strict=True):
            found.append(None if forth is None or back is None else Compared(forth, 1 - back))
        return found

    async def rank(self, asked: Sequence[tuple[Question, Sequence[str]]]) -> list[list[float] | None]:
        """For each list the share of the others that each answer beats. The list is shown in a mixed order."""
        orders = [_mixed(answers) for _, answers in asked]
        talks = [self._talk(q, answers=[a[i] for i in order]) for (q, a), order in zip(asked, orders, strict=True)]
        found = await self.asker.verdicts(talks, self.sampling, lambda reply, i: read_ranking(reply, len(orders[i])))
        return [
            None if shares is None else [shares[order.index(i)] for i in range(len(order))]
            for shares, order in zip(found, orders, strict=True)
        ]

    # ------------------------------------------------------------------------------------------------- parts

    def _talk(self, question: Question, **answers: Any) -> Talk:
        rubric, principle = self.rubric, None
        if self.principles:
            principle = choose([*self.principles], question.prompt)
            rubric = principle.prefer
        text = self.template.render(
            self.asker.chat.special,
            prompt=question.prompt,
            reference=question.reference,
            row=Row(question.row),
            rubric=rubric,
            principle=principle,
            low=self.low,
            high=self.high,
            likelihood=self.likelihood,
            **answers,
        )
        return [{"role": "user", "content": text}] if self.asker.chat.talks else text

    async def _means(self, talks: Sequence[Talk], read: Any) -> list[float | None]:
        """The mean of `samples` verdicts; those that cannot be read do not count."""
        columns = []
        for salt in range(self.samples):
            thought = await self._thought(talks, salt)
            columns.append(await self.asker.verdicts(thought, self.sampling, read, salt))
        rows = [[x for x in row if x is not None] for row in zip(*columns, strict=True)]
        return [sum(row) / len(row) if row else None for row in rows]

    async def _likelihoods(self, talks: Sequence[Talk], options: Sequence[str]) -> list[Likely]:
        return await self.asker.likelihoods(await self._thought(talks, 0), options)

    async def _thought(self, talks: Sequence[Talk], salt: int) -> list[Talk]:
        """The talks with reasoning of the model's own behind them, where that is wanted."""
        if not self.think:
            return [*talks]
        freely = replace(self.sampling, temperature=self.sampling.temperature or 0.7)
        replies = await self.asker.replies([_further(t, THINK) for t in talks], freely, salt)
        return [
            talk if r.problem else _further(_said(_further(talk, THINK), r.text), DECIDE)
            for talk, r in zip(talks, replies, strict=True)
        ]


def variables(template: str) -> set[str]:
    """What a template of that kind may use."""
    common = {"prompt", "reference", "rubric", "principle", "low", "high", "likelihood"}
    return common | SHOWN[template]


def _further(talk: Talk, text: str) -> Talk:
    """A talk with one more thing said by the user."""
    if isinstance(talk, str):
        return f"{talk}\n{text}\n"
    *before, last = talk
    if last["role"] == "user":
        return [*before, {"role": "user", "content": f"{last['content']}\n\n{text}"}]
    return [*talk, {"role": "user", "content": text}]


def _said(talk: Talk, text: str) -> Talk:
    return f"{talk}{text}\n" if isinstance(talk, str) else [*talk, {"role": "assistant", "content": text}]


def _mixed(answers: Sequence[str]) -> list[int]:
    """An order that has nothing to do with the one given, and is the same for the same answers."""
    digest = lambda i: hashlib.sha256(f"{i}:{answers[i]}".encode("utf-8", "surrogatepass")).digest()
    return sorted(range(len(answers)), key=digest)
