"""Constitutional AI (2212.08073): answers revised by principles, for SFT; pairs preferred by them, for RL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from postlude.data import Message, with_columns
from postlude.engines.protocol import Reply, Talk
from postlude.engines.settings import Sampling
from postlude.feedback.labelled import Labelled, Unlabelled
from postlude.judge.asking import Asker
from postlude.judge.principles import Principle, choose
from postlude.judge.questions import Judging, Question
from postlude.judge.templates import Row, Template
from postlude.judge.verdicts import without_thought
from postlude.sources.compared import Stated

Prompt = str | Sequence[Message]


@dataclass(frozen=True)
class Round:
    """One criticism and what came of it."""

    principle: str
    """Its id."""
    critique: str = ""
    revision: str = ""
    note: str = ""
    """Why the answer stayed as it was, where it did."""


@dataclass(frozen=True)
class Trace:
    """Everything that was said about one prompt."""

    prompt: Prompt
    response: str
    rounds: tuple[Round, ...] = ()
    place: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict[str, Any])
    problem: str | None = None
    """Why there is no first answer."""

    @property
    def final(self) -> str:
        """The answer after the last round that changed it."""
        return next((r.revision for r in reversed(self.rounds) if r.revision), self.response)

    def as_row(self) -> dict[str, Any]:
        """For trace.jsonl."""
        rounds = [{k: v for k, v in vars(r).items() if v} for r in self.rounds]
        row = {"prompt": self.prompt, "response": self.response, "rounds": rounds, "final": self.final}
        row |= {"problem": self.problem} if self.problem else {}
        return with_columns(row, self.columns, also=("problem",))

    def answers(self, keep: Literal["all", "last"]) -> Iterator[dict[str, Any]]:
        """Rows for SFT: every different revision, or the last answer. What was never revised says nothing new."""
        revised = [r for r in self.rounds if r.revision]
        chosen = revised if keep == "all" else revised[-1:]
        for step in chosen:
            said: Any = step.revision
            if not isinstance(self.prompt, str):
                said = [{"role": "assistant", "content": step.revision}]
            row = {"prompt": self.prompt, "completion": said, "principle": step.principle}
            yield with_columns(row, self.columns)


@dataclass(frozen=True)
class Revising:
    """Who answers, who criticises, and how both are asked."""

    policy: Asker
    critic: Asker
    principles: list[Principle]
    rounds: int
    critique: Template
    revise: Template
    sampling: Sampling
    """Of first answers."""
    careful: Sampling
    """Of criticisms and revisions."""
    seed: int = 0

    async def respond(self, prompts: Sequence[Trace]) -> list[Trace]:
        """The policy's own answers."""
        talks: list[Talk] = [t.prompt if isinstance(t.prompt, str) else [*t.prompt] for t in prompts]
        replies = await self.policy.replies(talks, self.sampling, self.seed)
        return [replace(t, response=_said(r), problem=_lacks(r)) for t, r in zip(prompts, replies, strict=True)]

    async def run(self, prompts: Sequence[Trace], tell: Callable[[], None] = lambda: None) -> list[Trace]:
        """Answers, then rounds of criticism and revision. `tell` hears of every stage that is done."""
        traces = await self.respond(prompts)
        tell()
        for number in range(self.rounds):
            traces = await self._round(traces, number)
            tell()
        return traces

    async def _round(self, traces: list[Trace], number: int) -> list[Trace]:
        """One principle for each prompt, one criticism, one revision."""
        places = [i for i, t in enumerate(traces) if t.problem is None]
        chosen = [choose(self.principles, self.seed, number, traces[i].prompt) for i in places]
        said = await self._ask(self.critique, [(traces[i], p, "") for i, p in zip(places, chosen, strict=True)], number)
        asked = [(traces[i], p, c) for i, p, c in zip(places, chosen, said, strict=True)]
        written = iter(await self._ask(self.revise, [a for a in asked if a[2]], number))
        result = [*traces]
        for i, (trace, principle, critique) in zip(places, asked, strict=True):
            step = _outcome(trace, principle, critique, next(written) if critique else "")
            result[i] = replace(trace, rounds=(*trace.rounds, step))
        return result

    async def _ask(self, template: Template, asked: Sequence[tuple[Trace, Principle, str]], salt: int) -> list[str]:
        """What the critic says to each; empty where it says nothing."""
        chat = self.critic.chat
        texts = [
            template.render(
                chat.special,
                prompt=t.prompt,
                answer=t.final,
                critique=critique,
                principle=principle,
                row=Row(t.columns),
            )
            for t, principle, critique in asked
        ]
        talks: list[Talk] = [[{"role": "user", "content": x}] if chat.talks else x for x in texts]
        replies = await self.critic.replies(talks, self.careful, salt)
        return ["" if _lacks(r) else _said(r) for r in replies]


def _said(reply: Reply) -> str:
    """What counts of a reply: not what a model thought before it."""
    return without_thought(reply.text)


def _lacks(reply: Reply) -> str | None:
    """Why a reply is of no use: what the length limit cut would be learned as a whole answer."""
    if reply.problem or reply.cut:
        return reply.problem or "cut by --max-tokens"
    return None if _said(reply) else "empty"


def _outcome(trace: Trace, principle: Principle, critique: str, revision: str) -> Round:
    """A round's record; without a criticism, or with a revision that changes nothing, the answer stays (10.3)."""
    if not critique:
        return Round(principle.id, note="no criticism")
    if not revision:
        return Round(principle.id, critique, note="no revision")
    if revision == trace.final:
        return Round(principle.id, critique, note="the revision changed nothing")
    return Round(principle.id, critique, revision)


@dataclass
class Comparing:
    """Who answers, and who says which of two answers follows a principle better."""

    policy: Asker
    judging: Judging
    count: int
    """Answers to each prompt."""
    sampling: Sampling
    labels: Labelled
    """Gets the verdicts."""
    seed: int = 0
    unused: Counter[str] = field(default_factory=Counter[str])
    """Reason -> answers that were not compared."""
    alone: int = 0
    """Prompts without two different answers."""

    async def run(self, prompts: Sequence[Trace], tell: Callable[[], None] = lambda: None) -> list[dict[str, Any]]:
        """Rows for trace.jsonl; the pairs are in `labels`. `tell` hears of every stage that is done."""
        talks: list[Talk] = [t.prompt if isinstance(t.prompt, str) else [*t.prompt] for t in prompts]
        columns = []
        for i in range(self.count):
            columns.append(await self.policy.replies(talks, self.sampling, self.seed * 1000 + i))
            tell()
        for replies in columns:
            self.unused.update(filter(None, map(_lacks, replies)))
        texts = [[_said(r) for r in row if not _lacks(r)] for row in zip(*columns, strict=True)]
        items = [_item(trace, row) for trace, row in zip(prompts, texts, strict=True)]
        self.alone += sum(not item.pairs for item in items)
        asked = [
            (Question(trace.prompt, trace.columns), row[i], row[j])
            for trace, row, item in zip(prompts, texts, items, strict=True)
            for i, j in item.pairs
        ]
        verdicts = iter(await self.judging.compare(asked))
        tell()
        rows = []
        for trace, row, item in zip(prompts, texts, items, strict=True):
            of_item = [next(verdicts) for _ in item.pairs]
            principle = choose([*self.judging.principles], trace.prompt).id
            item = replace(item, row=with_columns({"principle": principle}, item.row))
            self.labels.add(item, item.pairs, of_item)
            judged = zip(item.pairs, of_item, strict=True)
            said = {
                "prompt": trace.prompt,
                "answers": row,
                "principle": principle,
                "verdicts": [{"first": i, "second": j, "p": None if v is None else v.p} for (i, j), v in judged],
            }
            rows.append(with_columns(said, trace.columns))
        return rows


def _item(trace: Trace, texts: Sequence[str]) -> Unlabelled:
    """A prompt's answers as the labeller takes them."""
    chat = not isinstance(trace.prompt, str)
    answers: tuple[Any, ...] = tuple([{"role": "assistant", "content": x}] if chat else x for x in texts)
    said = Stated(trace.prompt if isinstance(trace.prompt, str) else [*trace.prompt], answers, (0.0,) * len(answers))
    return Unlabelled(trace.place, dict(trace.columns), said, judged=False)
