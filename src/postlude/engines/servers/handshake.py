"""Whether a server samples from the weights that are trained: log-probs of the same tokens, its own and the trainer's.

Asked at temperature 0.7 on purpose: a server that gives log-probs of the model as it is, whatever it samples from,
agrees at 1 and nowhere else. The prompts are random ids, after which a model is sure of nothing: a difference between
two models shows there.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor

from postlude import plain_json
from postlude.batch import pack
from postlude.data import Completion, Group, Prompt
from postlude.engines.protocol import Request, Trainer
from postlude.engines.servers.replies import Answer
from postlude.engines.servers.wire import ServerFailure, adapter_version
from postlude.engines.settings import Sampling
from postlude.waits import waiting

if TYPE_CHECKING:
    from postlude.engines.servers.fleet import Member

TEMPERATURE = 0.7
TOKENS = 16
"""Of an answer at most, and of all at least: where answers end early, more are asked for."""
PROMPT = 40
"""Token ids of a prompt at most: more than a block of vLLM's cache on GPUs, so that old keys and values would show."""
LEAST = 8
"""Tokens that two answers must have in common to be compared."""
MOVED = 0.01
"""Share of the error that is allowed, beyond which the trainer's own log-probs are others than before."""
STAYS = 0.1
"""Share of that change below which a server's log-probs have not changed."""
QUANTISED = 0.5
"""Mean error in nats below which a server's weights are rather a coarser copy than those of another model."""


@dataclass(frozen=True)
class Limits:
    """From which error on, in nats, a server is refused."""

    largest: float
    """In any token."""
    mean: float

    def hold(self, errors: Tensor) -> bool:
        return bool(errors.max() <= self.largest) and bool(errors.mean() <= self.mean)


EXACT, HALF = Limits(1e-3, 1e-3), Limits(0.5, 0.05)
"""Of weights in float32, and in 16 bits."""


@dataclass(frozen=True)
class Handshake:
    """A server that samples from the trainer's weights."""

    largest: float
    """The largest error of a log-prob, in nats; of all tokens compared."""
    mean: float
    tokens: int
    seconds: float


Agreed = list[tuple["Member", Handshake]]
Refused = list[tuple["Member", str]]
Answers = list[tuple[Request, Answer]]


@dataclass(frozen=True)
class _Record:
    """What a server answered under a version, and the trainer's log-probs of it."""

    request: Request
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True)
class _Said:
    """What a server answered when it agreed, and what the trainer gave those tokens then."""

    version: int
    answers: Answers
    ours: Sequence[Tensor]


@dataclass
class Handshakes:
    """Compares servers with a trainer, and remembers the newest two versions."""

    trainer: Trainer
    vocabulary: int
    """Rows of the trainer's output layer: ids below this can be sampled."""
    max_length: int
    """Tokens of the longest prompt and answer that will be asked for."""
    tied: bool = False
    """Whether the trainer's output layer is its embedding."""
    limits: Limits = EXACT
    _records: dict[int, list[_Record]] = field(default_factory=dict[int, list[_Record]])
    _before: WeakKeyDictionary[Member, _Said] = field(default_factory=WeakKeyDictionary["Member", "_Said"])
    """Of each server, when it agreed last."""
    _agreed: WeakSet[Member] = field(default_factory=WeakSet["Member"])
    """Servers that have agreed at some version."""

    def requests(self) -> list[Request]:
        """Always the same, in the order they are asked; as many as give TOKENS tokens if each gives one."""
        numbers = random.Random(0)
        length = max(1, min(PROMPT, self.max_length - TOKENS))
        return [
            Request(tuple(numbers.randrange(self.vocabulary) for _ in range(length)), seed) for seed in range(TOKENS)
        ]

    async def shake(
        self, members: Sequence[Member], version: int, frozen: Trainer | None = None
    ) -> tuple[Agreed, Refused]:
        """Each server that samples from the trainer's weights as they are now, which are `version`; and the others,
        each with a sentence. The trainer may not be at work on something else; where it has moved on, `frozen` holds
        that version."""
        trainer, started = frozen or self.trainer, time.monotonic()
        asked = await asyncio.gather(*(self._ask(member, version) for member in members))
        answers = [answer for part in asked if not isinstance(part, str) for answer in part]
        logprobs = iter(await self._logprobs(trainer, answers, TEMPERATURE))
        agreed: Agreed = []
        refused: Refused = []
        for member, part in zip(members, asked, strict=True):
            if isinstance(part, str):
                refused.append((member, part))
                continue
            ours = [next(logprobs) for _ in part]
            errors = torch.cat([_errors(answer, one) for (_, answer), one in zip(part, ours, strict=True)])
            if self.limits.hold(errors) and (before := self._unmoved(member, part, ours)) is not None:
                refused.append((member, _stale(member, errors, version, before)))
            elif self.limits.hold(errors):
                self._remember(version, part, ours)
                self._before[member] = _Said(version, part, ours)
                self._agreed.add(member)
                agreed.append((member, _result(errors, started)))
            else:
                refused.append((member, await self._why(trainer, member, part, errors, version)))
        return agreed, refused

    # ------------------------------------------------------------------------------------------------ asking

    async def _ask(self, member: Member, version: int) -> Answers | str:
        """Its answers, of TOKENS tokens together; or why it cannot be asked."""
        try:
            if why := await self._unfit(member, version):
                return why
            answers: Answers = []
            for request in self.requests():
                answer = await member.server.generate(
                    member.model, request, Sampling(temperature=TEMPERATURE, max_tokens=TOKENS), frozenset()
                )
                if why := self._unsound(member, answer, version):
                    return why
                answers.append((request, answer))
                if sum(len(answer.tokens) for _, answer in answers) >= TOKENS:
                    break
            return answers
        except ServerFailure as failure:
            return f"{member.name} does not answer the handshake: {failure}"

    async def _unfit(self, member: Member, version: int) -> str | None:
        """What its listing says against it."""
        listed = {one.name: one for one in await member.server.models()}
        if member.model not in listed:
            return (
                f"{member.name} serves {', '.join(sorted(listed)) or 'nothing'}, and no {member.model!r}: another "
                f"model, or one under another name. Start it with --served-model-name {member.model}."
            )
        lengths = [one.max_length for one in listed.values() if one.max_length is not None]
        if lengths and max(lengths) < self.max_length:
            return (
                f"{member.name} takes sequences of {max(lengths)} tokens, and prompts with their answers have up to "
                f"{self.max_length}. Start it with --max-model-len {self.max_length}, or lower sampling.max_tokens."
            )
        if adapter_version(member.model) is None and (label := await member.server.weight_version()) != str(version):
            return f"{member.name} calls its weights {label!r}, and was to have version {version}."
        return None

    def _unsound(self, member: Member, answer: Answer, version: int) -> str | None:
        """What an answer says against it, before its numbers are compared."""
        if not answer.tokens:
            return f"{member.name} ended its answer to the handshake without a token ({answer.finish})."
        strange = [token for token in answer.tokens if not 0 <= token < self.vocabulary]
        if strange:
            return (
                f"{member.name} has another vocabulary: it sampled id {strange[0]}, and the model in training has "
                f"{self.vocabulary}. Give it the weights that are trained."
            )
        labels = {span.version for span in answer.spans}
        if adapter_version(member.model) is None and labels != {str(version)}:
            return (
                f"{member.name} answered with weights it calls {', '.join(sorted(labels)) or 'nothing'}, and was to "
                f"have version {version}."
            )
        return None

    async def _logprobs(self, trainer: Trainer, answers: Answers, temperature: float) -> list[Tensor]:
        """The trainer's, of each answer's tokens, in one pass."""
        if not answers:
            return []
        groups = [
            Group(Prompt(f"handshake-{i}", "", tokens=request.prompt), (Completion(answer.tokens, reward=0.0),))
            for i, (request, answer) in enumerate(answers)
        ]
        batch = pack(groups, trainer.dtype, temperature)
        with waiting("the trainer", f"log-probs of {len(answers)} answers"):
            outputs = await trainer.forward(batch, "policy")
        assert outputs.logprobs is not None
        return [outputs.logprobs[batch.sequence == i] for i in range(len(answers))]

    def _unmoved(self, member: Member, answers: Answers, ours: Sequence[Tensor]) -> int | None:
        """The version that it agreed at last, where it says of the same tokens what it said then, and the trainer does
        not: a step that moves less than the limits allow would else hide that its new weights never came."""
        said = self._before.get(member)
        if said is None or [a.tokens for _, a in said.answers] != [a.tokens for _, a in answers]:
            return None
        pairs = zip(answers, said.answers, strict=True)
        theirs = torch.cat([_errors(now, torch.tensor(then.logprobs)) for (_, now), (_, then) in pairs])
        moved = torch.cat([(now - then).abs() for now, then in zip(ours, said.ours, strict=True)])
        stays = float(theirs.mean()) < STAYS * float(moved.mean())
        return said.version if stays and float(moved.max()) > self.limits.largest * MOVED else None

    def _remember(self, version: int, answers: Answers, logprobs: Sequence[Tensor]) -> None:
        self._records[version] = [
            _Record(request, answer.tokens, tuple(map(float, ours)))
            for (request, answer), ours in zip(answers, logprobs, strict=True)
        ]
        for old in sorted(self._records)[:-2]:
            del self._records[old]

    # ----------------------------------------------------------------------------------------------- refusing

    async def _why(self, trainer: Trainer, member: Member, answers: Answers, errors: Tensor, version: int) -> str:
        """The cause, as far as it can be told."""
        raw = await self._logprobs(trainer, answers, 1.0)
        if self.limits.hold(torch.cat([_errors(a, one) for (_, a), one in zip(answers, raw, strict=True)])):
            return (
                f"{_differ(member, errors, version)}: it gives those of temperature 1, whatever it samples at. Start "
                "it with --logprobs-mode processed_logprobs."
            )
        for before in sorted((v for v in self._records if v != version), reverse=True):
            common = [_common(r, a) for r, (_, a) in zip(self._records[before], answers, strict=False)]
            same = torch.cat([torch.zeros(0), *common])
            if len(same) >= LEAST and self.limits.hold(same):
                return _stale(member, errors, version, before)
        return await self._another(member, errors, version)

    async def _another(self, member: Member, errors: Tensor, version: int) -> str:
        text = _differ(member, errors, version)
        root = await _root(member) if self.tied else None
        tied = root is not None and _ties(root)
        head = (
            f"it was started from {root}, whose output layer is its embedding, and of such a model vLLM may keep the "
            "old output layer. Start it from the newest folder of the run's served/, which has both."
        )
        if tied and member in self._agreed:
            return f"{text}, and it agreed before: {head}"
        coarse = "a quantised or rounded copy of the model" if float(errors.mean()) < QUANTISED else "another model"
        return (
            f"{text}: it serves {coarse}, or samples with settings of its own. Start it with the weights that are "
            "trained, in the same dtype, without quantisation, and with --generation-config vllm."
            f"{f' Or {head}' if tied else ''}"
        )


async def _root(member: Member) -> Path | None:
    """The folder that a server was started from, where it can be seen from here."""
    try:
        roots = [Path(one.root) for one in await member.server.models() if one.parent is None]
    except ServerFailure:
        return None
    return next((root for root in roots if (root / "config.json").is_file()), None)


def _ties(root: Path) -> bool:
    """Whether a model's config says that its output layer is its embedding."""
    try:
        return bool(plain_json.read(root / "config.json").get("tie_word_embeddings"))
    except (OSError, ValueError, AttributeError):
        return False


def _errors(answer: Answer, logprobs: Tensor) -> Tensor:
    theirs = torch.tensor(answer.logprobs, dtype=torch.float64)
    return (theirs - logprobs.double().cpu()).abs().nan_to_num(nan=float("inf"))


def _common(record: _Record, answer: Answer) -> Tensor:
    """Errors of the tokens that an answer has in common with a recorded one, up to the first that differs."""
    pairs = zip(record.tokens, answer.tokens, strict=False)
    count = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(record.tokens), len(answer.tokens)))
    ours, theirs = torch.tensor(record.logprobs[:count]), torch.tensor(answer.logprobs[:count])
    return (ours.double() - theirs.double()).abs().nan_to_num(nan=float("inf"))


def _result(errors: Tensor, started: float) -> Handshake:
    return Handshake(float(errors.max()), float(errors.mean()), len(errors), time.monotonic() - started)


def _stale(member: Member, errors: Tensor, version: int, before: int) -> str:
    return (
        f"{_differ(member, errors, version)}: it still samples from version {before}, though it took the new weights "
        "without a word. Start it again; where that does not help, use another engine.publish."
    )


def _differ(member: Member, errors: Tensor, version: int) -> str:
    return (
        f"{member.name}: log-probs of the same {len(errors)} tokens differ from the trainer's by up to "
        f"{float(errors.max()):.2g} nats (mean {float(errors.mean()):.2g}) at version {version}"
    )
