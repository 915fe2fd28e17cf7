"""Sampling from a fleet of vLLM servers: who is asked, what is asked again, and which versions an answer is made of."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Container, Generator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from postlude.data import Completion
from postlude.engines.answers import Reader, Unsound, as_they_end
from postlude.engines.protocol import Progress, Request, Weights
from postlude.engines.servers.limits import unserved
from postlude.engines.servers.replies import ABORTED, Answer
from postlude.engines.servers.wire import ServerFailure, VllmServer, adapter_version
from postlude.engines.settings import Sampling, Servers
from postlude.errors import EngineError

if TYPE_CHECKING:
    from postlude.engines.servers.fleet import Fleet, Member

PAUSE, LONGEST_PAUSE = 0.2, 10.0
"""Seconds before a request is asked again; they double from the first to the second."""
TRIES = 5
"""Failures of one request on healthy servers that end the run."""
ALL_TRIES = 20
"""Failures of one request on any servers that do: it may be what makes them fail."""
LOOK = 1.0
"""Seconds between two looks at whether a server that is waited for was taken out."""


class Unpublished(Exception):
    """An answer of weights that nobody published."""


@dataclass
class Group:
    """Requests in a row with the same prompt, which one server computes once."""

    member: Member | None = None
    """The server that has its prompt."""


@dataclass
class Line:
    """Requests that wait for a server, first come, first served; it belongs to one event loop."""

    loop: asyncio.AbstractEventLoop
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    freed: asyncio.Event = field(default_factory=asyncio.Event)


class PoolSampler:
    """A `Sampler` over a `Fleet`. Every completion is a request of its own, with its own seed.

    Requests of one group go to one server, groups to the server with the fewest tokens under way. What fails is asked
    again, of another server where there is one. Nothing of weights that are not `published` comes out.
    """

    def __init__(
        self,
        fleet: Fleet,
        published: Container[int],
        tokenizer: Any,
        stop_ids: frozenset[int],
        vocabulary: int,
        settings: Servers,
    ) -> None:
        self.fleet, self.published, self.settings = fleet, published, settings
        self.reader = Reader(tokenizer, stop_ids, vocabulary)
        self.turn: Callable[[], AbstractAsyncContextManager[object]] = nullcontext
        """Entered for each answer: servers that share a device with the trainer are awake within."""
        self.version = 0
        self.on_progress: Callable[[Progress], None] | None = None
        self.on_smaller: Callable[[str], None] = lambda text: None
        self.requeued = 0
        """Requests that were asked again, since `counted` was called last."""
        self.refused_answers = 0
        """Answers among those that came, but could not be used: of unpublished weights, or unsound."""
        self._asked: Counter[Member] = Counter()
        """Answers under way at each."""
        self._line: Line | None = None

    async def load(self, weights: Weights) -> None:
        """The engine publishes to the servers itself: EngineError."""
        raise EngineError("vLLM servers get their weights from the engine that publishes them", code="not-supported")

    def give_way(self, requests: Sequence[Request], sampling: Sampling) -> bool:
        """Nothing: the memory is the servers'."""
        return False

    def counted(self) -> dict[str, float]:
        """`requeued` and `refused_answers` since this was called last."""
        counts = {"requeued": float(self.requeued), "refused_answers": float(self.refused_answers)}
        self.requeued = self.refused_answers = 0
        return counts

    async def sample(self, requests: Sequence[Request], sampling: Sampling) -> AsyncIterator[tuple[int, Completion]]:
        """Completions as they finish. The first failure for good cancels the rest, on the servers as well.

        Raises EngineError where a request is refused, fails too often, or no server is there to be asked.
        """
        problem = unserved(sampling)
        if problem:
            raise EngineError(problem, code="not-supported")
        progress, groups = Progress(total=len(requests)), _groups(requests)
        work = [self._in_turn(i, requests[i], groups[i], sampling) for i in range(len(requests))]
        async with aclosing(as_they_end(work)) as answers:
            async for index, completion in answers:
                progress.tokens += completion.length
                progress.finished += 1
                if self.on_progress:
                    self.on_progress(progress)
                yield index, completion

    # ------------------------------------------------------------------------------------------------- one answer

    async def _in_turn(self, index: int, request: Request, group: Group, sampling: Sampling) -> tuple[int, Completion]:
        async with self.turn():
            return await self._answer(index, request, group, sampling)

    async def _answer(self, index: int, request: Request, group: Group, sampling: Sampling) -> tuple[int, Completion]:
        on_healthy, avoid = 0, None
        for attempt in range(ALL_TRIES):
            member = await self._seat(group, avoid, sampling.max_tokens)
            server = member.server
            with self._seated(member, sampling.max_tokens):
                try:
                    completion = await self._ask(member, request, sampling)
                    member.restarts = 0
                    return index, completion
                except (ServerFailure, Unsound, Unpublished) as error:
                    failure = error
            at_fault = await self._at_fault(member, server, failure)
            on_healthy += not at_fault
            if on_healthy >= TRIES or attempt + 1 == ALL_TRIES or _refuses(failure):
                raise _ending(member, failure, attempt + 1)
            self.requeued += 1
            avoid = member
            await asyncio.sleep(min(LONGEST_PAUSE, PAUSE * 2**attempt))
        raise AssertionError

    async def _ask(self, member: Member, request: Request, sampling: Sampling) -> Completion:
        """Raises ServerFailure where none comes, Unsound or Unpublished where it cannot be used."""
        server, model = member.server, member.model
        answer = await self._waited(member, server, model, request, sampling)
        try:
            self.reader.check_ids(answer.tokens)
            spans = self._spans(model, answer)
            completion = self.reader.completion(answer.tokens, answer.logprobs, answer.finish, sampling)
        except (Unsound, Unpublished):
            self.refused_answers += 1
            raise
        spans = tuple((version, first) for version, first in spans if first < len(completion.tokens))
        oldest = min(version for version, _ in spans)
        return replace(completion, policy_version=oldest, spans=spans)

    async def _waited(
        self, member: Member, server: VllmServer, model: str, request: Request, sampling: Sampling
    ) -> Answer:
        """The server's answer, unless it is taken out before that comes: one that hangs is not waited for."""
        asking = asyncio.ensure_future(server.generate(model, request, sampling, self.reader.stop_ids))
        try:
            while not asking.done():
                await asyncio.wait([asking], timeout=LOOK)
                if not asking.done() and not _serves(member, server):
                    raise ServerFailure("connection", "it was taken out before it answered")
            answer = asking.result()
        except ServerFailure as failure:
            self.refused_answers += failure.kind == "answer"
            raise
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        if answer.finish == ABORTED:
            raise ServerFailure("answer", "it ended an answer before its time (finish_reason abort)")
        return answer

    def _spans(self, model: str, answer: Answer) -> tuple[tuple[int, int], ...]:
        """(version, its first token) for each stretch of one version. Raises Unpublished.

        An adapter's name says the version of all its answer: the spans are then of the base model's label, which stays.
        """
        of_adapter = adapter_version(model)
        labels = [(span.version, span.start) for span in answer.spans] if of_adapter is None else [(str(of_adapter), 0)]
        for label, _ in labels:
            if not (label.isascii() and label.isdigit()) or int(label) not in self.published:
                raise Unpublished(
                    f"its answers name version {label!r} of the weights, which was never published here: another run "
                    "gives it weights as well, or it was started anew"
                )
        starts = [(int(label), start) for label, start in labels]
        return (starts[0], *(after for before, after in pairwise(starts) if after[0] != before[0]))

    async def _at_fault(self, member: Member, server: VllmServer, failure: Exception) -> bool:
        """Whether the server failed, and not the request; the fleet hears of what it does not know."""
        if not _serves(member, server):
            return True
        why = str(failure)
        if isinstance(failure, ServerFailure) and failure.status != 404:
            if failure.kind == "answer" or _refuses(failure):
                return False
            try:
                await server.health()
                return False
            except ServerFailure as sick:
                why = f"{failure}; {sick}"
        elif isinstance(failure, Unsound):
            return False
        self.fleet.ailing(member, why, server)  # of weights, or a model, that it should not have, or not lack
        return True

    # ------------------------------------------------------------------------------------------------ who is asked

    async def _seat(self, group: Group, avoid: Member | None, tokens: int) -> Member:
        """The server to ask next, once one has room: the group's own, unless that is full, gone or to be avoided."""
        loop = asyncio.get_running_loop()
        if self._line is None or self._line.loop is not loop:
            self._line = Line(loop)
        line = self._line
        async with line.turn:
            while True:
                ready = await self.fleet.available()
                others = [member for member in ready if member is not avoid] or ready
                roomy = [member for member in others if self._asked[member] < self.settings.concurrency]
                if roomy:
                    if group.member not in roomy:
                        group.member = min(roomy, key=lambda member: member.under_way)
                    self._asked[group.member] += 1
                    group.member.under_way += tokens
                    return group.member
                line.freed.clear()
                await _set_within(line.freed, LOOK)  # a server may become ready as well

    @contextmanager
    def _seated(self, member: Member, tokens: int) -> Generator[None]:
        """What `_seat` took is given back."""
        try:
            yield
        finally:
            self._asked[member] -= 1
            member.under_way -= tokens
            if self._line is not None:
                self._line.freed.set()


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def _groups(requests: Sequence[Request]) -> list[Group]:
    """Of each request, the one object of its group."""
    groups = list[Group]()
    for i, request in enumerate(requests):
        groups.append(groups[-1] if i and request.prompt == requests[i - 1].prompt else Group())
    return groups


def _serves(member: Member, server: VllmServer) -> bool:
    """Whether it is ready still, and the same process."""
    return member.state == "ready" and member.server is server


def _refuses(failure: Exception) -> bool:
    return isinstance(failure, ServerFailure) and failure.refuses


def _ending(member: Member, failure: Exception, tries: int) -> EngineError:
    text = str(failure).rstrip(".")
    if not isinstance(failure, ServerFailure):
        return EngineError(f"{member.name}: {text}. {tries} answers in a row could not be used.", code="server-answer")
    if failure.refuses:
        return EngineError(f"{member.name} refuses a request: {text}.", code="server-refused")
    code = {"status": "server-refused", "answer": "server-answer"}.get(failure.kind, "server-unreachable")
    advice = " Raise engine.servers.timeout, or ask for less: max_tokens." if failure.kind == "timeout" else ""
    return EngineError(f"{member.name}: {text}. One request failed {tries} times.{advice}", code=code)
