"""Asking a language model many questions: cached, counted, within a budget, and tried once more where unreadable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from postlude.cache import Cache, key_of
from postlude.engines.protocol import Chat, Likely, Reply, Talk, Tell, Usage
from postlude.engines.settings import ChatSpec, Sampling
from postlude.errors import AskingStopped, EngineError
from postlude.judge.verdicts import Unreadable

T = TypeVar("T")
Ask = Callable[[Sequence[Talk], Sequence[str], Tell], Any]
AT_A_TIME = 32
"""Answers written to the cache together."""


@dataclass(frozen=True)
class Caps:
    """What may be spent; None is no limit. No request is sent that could pass one."""

    calls: int | None = None
    tokens: int | None = None
    cost: float | None = None
    price: tuple[float, float] = (0.0, 0.0)
    """Of a million tokens read and written, in the unit of `cost`."""

    def __post_init__(self) -> None:
        if self.cost is not None and not any(self.price):
            raise ValueError("max_cost needs `price`: [of a million tokens read, of a million written]")
        if any(x is not None and x <= 0 for x in (self.calls, self.tokens, self.cost)) or min(self.price) < 0:
            raise ValueError("caps must be above 0, and prices not below")


@dataclass
class Spent:
    """What was asked. `calls` are requests, further tries among them; the others are questions."""

    calls: int = 0
    read: int = 0
    written: int = 0
    failed: int = 0
    unreadable: int = 0
    """Without a readable verdict after the second try."""
    cached: int = 0
    floored: int = 0
    """Options whose likelihood the model did not report."""
    reasons: dict[str, str] = field(default_factory=dict[str, str])
    """`failed` and `unreadable` -> the first reason."""

    def cost(self, caps: Caps) -> float:
        return (self.read * caps.price[0] + self.written * caps.price[1]) / 1e6

    @property
    def billed(self) -> dict[str, int]:
        return {"calls": self.calls, "read": self.read, "written": self.written}


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
    _before: Spent | None = None
    """What earlier processes spent, by the same cache."""
    _billed: dict[str, int] = field(default_factory=dict[str, int])
    """The part of `spent` that the cache knows of."""
    _chat: Chat | None = None
    _file: Cache | None = None
    _flying: list[Usage] = field(default_factory=list[Usage])
    """What requests under way could take."""
    _waiting: dict[str, asyncio.Future[Any]] = field(default_factory=dict[str, "asyncio.Future[Any]"])
    """Questions under way."""
    _known: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def _account(self) -> str:
        """Under what the cache sums up: two models that share it have a budget each."""
        return f"spent {self.spec.url or ''} {self.spec.model}"

    @property
    def questions(self) -> int:
        """Requests that were sent in this process."""
        return self.spent.calls

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

        async def ask(fresh: Sequence[Talk], keys: Sequence[str], tell: Tell) -> None:
            seeds = [int(key[:16], 16) % (1 << 63) for key in keys]
            await self.chat.replies(fresh, sampling, seeds, tell, self._request)

        return [Reply(**row) for row in await self._cached(talks, how, ask)]

    async def likelihoods(self, talks: Sequence[Talk], options: Sequence[str]) -> list[Likely]:
        """The log-probs of options as the answer to each talk."""

        async def ask(fresh: Sequence[Talk], keys: Sequence[str], tell: Tell) -> None:
            await self.chat.likelihoods(fresh, options, tell, self._request)

        found = [Likely(**row) for row in await self._cached(talks, ["likelihoods", [*options]], ask)]
        self._count(floored=sum(x.floored for x in found))
        return found

    async def verdicts(
        self, talks: Sequence[Talk], sampling: Sampling, read: Callable[[str, int], T], salt: int = 0
    ) -> list[T | None]:
        """What `read` makes of each reply and its place. One that it cannot read is asked to mend it once; then there
        is none."""
        replies = await self.replies(talks, sampling, salt)
        found: list[T | None] = [None] * len(talks)
        again: list[tuple[int, Talk]] = []
        for i, (talk, reply) in enumerate(zip(talks, replies, strict=True)):
            try:
                found[i] = None if reply.problem else read(reply.text, i)
            except Unreadable as error:
                again.append((i, repair(talk, reply.text, str(error))))
        mended = await self.replies([talk for _, talk in again], sampling, salt) if again else []
        for (i, _), reply in zip(again, mended, strict=True):
            try:
                found[i] = None if reply.problem else read(reply.text, i)
            except Unreadable as error:
                self._count(unreadable=1)
                self._because("unreadable", f"{reply.text[:200]!r} ({error})")
        return found

    @contextmanager
    def counting(self) -> Iterator[Spent]:
        """What is spent within, by this task alone."""
        own = Spent()
        token = _OWN.set(own)
        try:
            yield own
        finally:
            _OWN.reset(token)

    # ------------------------------------------------------------------------------------------------- answers

    async def _cached(self, talks: Sequence[Talk], how: list[Any], ask: Ask) -> list[dict[str, Any]]:
        """The answer to each talk as a row: known, under way for somebody else, or asked now."""
        name = await self._guarded(self.chat.identify())
        keys = [key_of(name, how, talk) for talk in talks]
        asked = dict(zip(keys, talks, strict=True))
        known = self._look_up(asked)
        self._count(cached=sum(key in known for key in keys))
        while missing := {key: talk for key, talk in asked.items() if key not in known}:
            elsewhere = {key: self._waiting[key] for key in missing if key in self._waiting}
            fresh = {key: talk for key, talk in missing.items() if key not in elsewhere}
            if fresh:
                known |= await self._ask(fresh, ask)
            for key, future in elsewhere.items():
                answer = await asyncio.shield(future)  # shielded: to stop waiting must not stop who asks
                known |= {} if answer is None else {key: answer}  # None: it was not asked after all; ask ourselves
        return [known[key] for key in keys]

    async def _ask(self, fresh: Mapping[str, Talk], ask: Ask) -> dict[str, dict[str, Any]]:
        """Ask, and keep what is answered as it comes; whoever needs the same meanwhile waits for it."""
        keys, told, unsaved = [*fresh], dict[str, dict[str, Any]](), dict[str, dict[str, Any]]()
        loop = asyncio.get_running_loop()
        self._waiting |= {key: loop.create_future() for key in keys}

        def tell(place: int, answer: Reply | Likely) -> None:
            told[keys[place]] = row = asdict(answer)
            if answer.problem is None:
                unsaved[keys[place]] = row
            else:
                self._count(failed=1)
                self._because("failed", answer.problem)
            if len(unsaved) >= AT_A_TIME:
                self._keep(unsaved)

        try:
            await self._guarded(ask([*fresh.values()], keys, tell))
            for key in keys:
                told.setdefault(key, {"problem": "no answer came back"})
        finally:  # whatever stopped the rest, what was answered is kept
            self._keep(unsaved)
            for key in keys:
                future = self._waiting.pop(key)
                if not future.done():
                    future.set_result(told.get(key))
        return told

    def _look_up(self, keys: Collection[str]) -> dict[str, Any]:
        if self.cache is None:
            return {key: self._known[key] for key in keys if key in self._known}
        return self._open_file().get_all(keys)

    def _keep(self, found: dict[str, Any]) -> None:
        """Move answers to where they stay."""
        if self.cache is None:
            self._known |= found
        else:
            self._open_file().put_all(found)
            new = {what: n - self._billed.get(what, 0) for what, n in self.spent.billed.items()}
            self._open_file().add(self._account, new)
            self._billed = self.spent.billed
        found.clear()

    def _open_file(self) -> Cache:
        assert self.cache is not None
        self._file = self._file or Cache(self.cache)
        return self._file

    # ------------------------------------------------------------------------------------------------- budget

    @contextmanager
    def _request(self, read: int, written: int) -> Iterator[Usage]:
        """One request, sent only if it cannot pass a cap; what it took is written down, whatever became of it."""
        usage = Usage(read, written)
        self._check(usage)
        self._flying.append(usage)
        try:
            yield usage
        finally:
            self._flying = [u for u in self._flying if u is not usage]
            self._count(calls=1, read=usage.read, written=usage.written)

    def _check(self, wanted: Usage) -> None:
        caps = self.caps
        if caps == Caps(price=caps.price):
            return
        if self._before is None:
            total = self._open_file().total(self._account) if self.cache is not None else {}
            earlier = {k: total.get(k, 0) - self._billed.get(k, 0) for k in ("calls", "read", "written")}
            self._before = Spent(earlier["calls"], earlier["read"], earlier["written"])
        flying = Spent(len(self._flying), sum(u.read for u in self._flying), sum(u.written for u in self._flying))
        so_far, next_ = [self._before, self.spent, flying], Spent(1, wanted.read, wanted.written)
        for name, cap, used, more in (
            ("max_calls", caps.calls, sum(s.calls for s in so_far), 1),
            ("max_tokens_spent", caps.tokens, sum(s.read + s.written for s in so_far), next_.read + next_.written),
            ("max_cost", caps.cost, sum(s.cost(caps) for s in so_far), next_.cost(caps)),
        ):
            if cap is not None and used + more > cap:
                raise AskingStopped(
                    f"judge {self.chat.name!r}: {name} is {cap:g}; {used:g} were spent or are under way, and one more "
                    f"request could take {more:g}. It was not sent. Raise the cap and go on (a run with --resume): "
                    "what was answered is not asked again.",
                    code="judge-cap",
                )

    def _count(self, **more: int) -> None:
        """Add to what was spent altogether and within the present call."""
        for spent in (self.spent, _OWN.get()):
            for name, value in more.items():
                if spent is not None:
                    setattr(spent, name, getattr(spent, name) + value)

    def _because(self, what: str, reason: str) -> None:
        for spent in (self.spent, _OWN.get()):
            if spent is not None:
                spent.reasons.setdefault(what, reason)

    async def _guarded(self, call: Any) -> Any:
        """A model that cannot be asked at all stops whoever asks."""
        try:
            return await call
        except EngineError as error:
            raise AskingStopped(str(error), code=error.code) from error


def repair(talk: Talk, said: str, problem: str) -> Talk:
    """The question again, with what was wrong with the first reply."""
    more = f"That was not readable: {problem}. Reply with the JSON object only."
    if isinstance(talk, str):
        return f"{talk}\n{said}\n{more}\n"
    return [*talk, {"role": "assistant", "content": said}, {"role": "user", "content": more}]
