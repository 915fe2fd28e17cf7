"""Asking a language model many questions: cached, counted, within a budget, and tried once more where unreadable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from postlude.engines.protocol import Chat, ChatSpec, Reply, Sampling, Talk, Tell
from postlude.errors import EngineError, RewardError
from postlude.rewards.cache import Cache, key_of
from postlude.rewards.judge.verdicts import Unreadable

T = TypeVar("T")
CHARACTERS = 3
"""Per token, for estimates: fewer than most texts have, so that a cap is reached too early rather than too late."""


class Log(Protocol):
    """Where figures of a step go."""

    def __call__(self, name: str, value: float) -> None: ...


@dataclass(frozen=True)
class Caps:
    """What may be spent; None is no limit. Nothing is asked that could pass one."""

    calls: int | None = None
    tokens: int | None = None
    cost: float | None = None
    price: tuple[float, float] = (0.0, 0.0)
    """Of a million tokens read and written, in the unit of `cost`."""

    def __post_init__(self) -> None:
        if self.cost is not None and not any(self.price):
            raise ValueError("max_cost needs `price`: [of a million tokens read, of a million written]")
        if any(x is not None and x < 0 for x in (self.calls, self.tokens, self.cost)) or min(self.price) < 0:
            raise ValueError("caps and prices must not be negative")


@dataclass
class Spent:
    """What was asked so far, in this process."""

    calls: int = 0
    read: int = 0
    written: int = 0
    failed: int = 0
    unreadable: int = 0
    """Questions without a readable verdict after the second try."""
    cached: int = 0

    def cost(self, caps: Caps) -> float:
        return (self.read * caps.price[0] + self.written * caps.price[1]) / 1e6


_OWN: ContextVar[Spent | None] = ContextVar("spent in the present call", default=None)


@dataclass
class Asker:
    """A language model with its cache and its budget. `open` is set by whoever knows how models are run."""

    spec: ChatSpec
    caps: Caps = Caps()
    cache: Path | None = None
    """Kept for this process only where None."""
    open: Callable[[ChatSpec], Chat] | None = None
    spent: Spent = field(default_factory=Spent)
    _chat: Chat | None = None
    _file: Cache | None = None
    _flying: list[Spent] = field(default_factory=list[Spent])
    """What requests under way could take."""
    _waiting: dict[str, asyncio.Future[Any]] = field(default_factory=dict[str, "asyncio.Future[Any]"])
    """Questions under way."""
    _known: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def chat(self) -> Chat:
        """The model, loaded when it is first asked."""
        if self._chat is None:
            assert self.open is not None, "a language model was asked before anything could open it"
            self._chat = self.open(self.spec)
        return self._chat

    async def replies(self, talks: Sequence[Talk], sampling: Sampling, salt: int = 0) -> list[Reply]:
        """A reply to each. Equal questions are asked once; `salt` makes them different questions."""
        how = ["reply", sampling.temperature, sampling.top_p, sampling.max_tokens, [*sampling.stop], salt]

        async def ask(fresh: Sequence[Talk], keys: Sequence[str], told: dict[str, Any]) -> None:
            seeds = [int(key[:16], 16) % (1 << 63) for key in keys]
            tell: Tell = lambda i, reply: told.__setitem__(keys[i], self._counted(reply))
            await self._guarded(self.chat.replies(fresh, sampling, seeds, tell))

        rows = await self._cached(talks, how, ask, sampling.max_tokens)
        return [Reply(**row) if row else Reply(problem="no reply") for row in rows]

    async def likelihoods(self, talks: Sequence[Talk], options: Sequence[str]) -> list[tuple[float | None, ...] | None]:
        """The log-probs of options as the answer to each talk."""

        async def ask(fresh: Sequence[Talk], keys: Sequence[str], told: dict[str, Any]) -> None:
            found = await self._guarded(self.chat.likelihoods(fresh, options))
            failed = sum(row is None for row in found)
            self._count(calls=len(fresh), read=sum(map(_tokens, fresh)), failed=failed)
            told |= {key: [*row] for key, row in zip(keys, found, strict=True) if row is not None}

        rows = await self._cached(talks, ["likelihoods", [*options]], ask, 1)
        return [None if row is None else tuple(row) for row in rows]

    async def verdicts(
        self, talks: Sequence[Talk], sampling: Sampling, read: Callable[[str, int], T], salt: int = 0
    ) -> list[T | None]:
        """What `read` makes of each reply and its place. One that it cannot read is asked to mend it once; then there
        is none."""
        replies = await self.replies(talks, sampling, salt)
        found: list[T | None] = []
        again: list[tuple[int, Talk]] = []
        for i, (talk, reply) in enumerate(zip(talks, replies, strict=True)):
            found.append(None)
            if reply.problem:
                continue
            try:
                found[i] = read(reply.text, i)
            except Unreadable as error:
                again.append((i, repair(talk, reply.text, str(error))))
        mended = await self.replies([talk for _, talk in again], sampling, salt) if again else []
        for (i, _), reply in zip(again, mended, strict=True):
            try:
                found[i] = None if reply.problem else read(reply.text, i)
            except Unreadable:
                found[i] = None
            self._count(unreadable=int(found[i] is None))
        return found

    # ------------------------------------------------------------------------------------------------- parts

    async def _cached(self, talks: Sequence[Talk], how: list[Any], ask: Any, longest: int) -> list[Any]:
        """The answer to each talk: known, or asked now and then known. None is not kept: it is asked again."""
        name = await self._guarded(self.chat.identify())
        keys = [key_of(name, self.spec.url, how, talk) for talk in talks]
        known = self._look_up({*keys})
        open_ = {key: talk for key, talk in zip(keys, talks, strict=True) if key not in known}
        fresh = {key: talk for key, talk in open_.items() if key not in self._waiting}
        elsewhere = {key: self._waiting[key] for key in open_ if key not in fresh}
        self._count(cached=len(talks) - len(fresh))
        if fresh:
            known |= await self._ask_fresh(fresh, ask, longest)
        for key, answer in elsewhere.items():  # another call has just asked the same
            known[key] = await answer
        return [known.get(key) for key in keys]

    async def _ask_fresh(self, fresh: dict[str, Talk], ask: Any, longest: int) -> dict[str, Any]:
        """Ask, and keep what was answered; whoever asks the same meanwhile waits for it."""
        loop = asyncio.get_running_loop()
        self._waiting |= {key: loop.create_future() for key in fresh}
        told: dict[str, Any] = {}
        try:
            with self._reserved([*fresh.values()], longest):
                await ask([*fresh.values()], [*fresh], told)
        finally:  # whatever stopped the rest, what was answered is kept
            answers = {key: answer for key, answer in told.items() if answer is not None}
            self._keep(answers)
            for key in fresh:
                self._waiting.pop(key).set_result(answers.get(key))
        return answers

    def _count(self, **more: int) -> None:
        """Add to what was spent altogether and within the present call."""
        for spent in (self.spent, _OWN.get()):
            for name, value in more.items():
                if spent is not None:
                    setattr(spent, name, getattr(spent, name) + value)

    @contextmanager
    def counting(self) -> Iterator[Spent]:
        """What is spent within, by this task alone."""
        own = Spent()
        token = _OWN.set(own)
        try:
            yield own
        finally:
            _OWN.reset(token)

    def _look_up(self, keys: Collection[str]) -> dict[str, Any]:
        if self.cache is None:
            return {key: self._known[key] for key in keys if key in self._known}
        self._file = self._file or Cache(self.cache)
        return self._file.get_all(keys)

    def _keep(self, found: dict[str, Any]) -> None:
        if self._file is None:
            self._known |= found
        else:
            self._file.put_all(found)

    def _counted(self, reply: Reply) -> dict[str, Any] | None:
        failed = int(reply.problem is not None)
        self._count(calls=1, read=reply.prompt_tokens, written=reply.tokens, failed=failed)
        if reply.problem is not None:
            return None
        return {"text": reply.text, "prompt_tokens": reply.prompt_tokens, "tokens": reply.tokens}

    @contextmanager
    def _reserved(self, talks: Sequence[Talk], longest: int) -> Iterator[None]:
        """Stop before a cap could be passed; what is under way counts with the most that it could take."""
        wanted = Spent(len(talks), sum(map(_tokens, talks)), longest * len(talks))
        self._check(wanted)
        self._flying.append(wanted)
        try:
            yield
        finally:
            self._flying.remove(wanted)

    def _check(self, wanted: Spent) -> None:
        """What was answered is in the cache, and the run can go on from there."""
        caps, talks = self.caps, range(wanted.calls)
        all_of_it = [self.spent, *self._flying]
        for name, cap, used, more in (
            ("max_calls", caps.calls, sum(s.calls for s in all_of_it), wanted.calls),
            ("max_tokens_spent", caps.tokens, sum(s.read + s.written for s in all_of_it), wanted.read + wanted.written),
            ("max_cost", caps.cost, sum(s.cost(caps) for s in all_of_it), wanted.cost(caps)),
        ):
            if cap is not None and used + more > cap:
                raise RewardError(
                    f"judge {self.chat.name!r}: {name} is {cap:g}; {used:g} were spent and the next {len(talks)} "
                    f"questions could take {more:g}. Nothing more was asked. Raise the cap and go on with --resume: "
                    "what was answered is not asked again."
                )

    async def _guarded(self, call: Any) -> Any:
        """A model that cannot be asked at all stops the run."""
        try:
            return await call
        except EngineError as error:
            raise RewardError(f"judge: {error}") from error


def repair(talk: Talk, said: str, problem: str) -> Talk:
    """The question again, with what was wrong with the first reply."""
    more = f"That was not readable: {problem}. Reply with the JSON object only."
    if isinstance(talk, str):
        return f"{talk}\n{said}\n{more}\n"
    return [*talk, {"role": "assistant", "content": said}, {"role": "user", "content": more}]


def _tokens(talk: Talk) -> int:
    """About how many tokens a question has, rather too many."""
    text = talk if isinstance(talk, str) else "".join(str(m["content"]) for m in talk)
    return len(text) // CHARACTERS + 8
