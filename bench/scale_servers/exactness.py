"""One publication to a server: is every token exact afterwards, in the middle of an answer too, and in what time?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from postlude.batch import pack
from postlude.data import Completion, Group, Prompt
from postlude.engines.local.engine import LocalEngine
from postlude.engines.protocol import Request
from postlude.engines.servers.handshake import TEMPERATURE, Handshakes
from postlude.engines.servers.publishing import Adapters, Files, Publisher, Stream
from postlude.engines.servers.replies import Answer, Span
from postlude.engines.servers.shelf import Shelf, named_weights
from postlude.engines.servers.stream import GlooLink
from postlude.engines.servers.wire import VllmServer
from postlude.engines.settings import Sampling
from postlude.errors import EngineError
from postlude.models.lora import Lora
from postlude.models.tied import is_tied

PUBLICATIONS = 3
LONG, ANSWER, ANSWERS = 300, 160, 4
"""Token ids of the prompt of the answers that a publication meets in their middle, of such an answer at most, and how
many there are: some end early."""


@dataclass(eq=False)
class Served:
    """A server as publishers know it."""

    name: str
    server: VllmServer
    model: str = "policy"


@dataclass(frozen=True)
class Row:
    """One publication."""

    way: str
    version: int
    before: float
    """The largest error in nats of a log-prob at temperature 0.7 before it, where the trainer has moved on already."""
    error: float
    """After it; of the handshake's tokens."""
    long: float
    """Of an answer to a long prompt that was asked before as well."""
    spans: tuple[Span, ...]
    """Of one of the answers that it met in their middle, if it met any."""
    covered: bool
    """Whether each of these answers' tokens has a version, and one of the two that there were."""
    middle: float
    """The largest error of these answers' tokens, each against the version that its span names."""
    seconds: dict[str, float]
    """To write the folder (`place`), of each call to the server, of all of them (`publish`), of the handshake."""


@dataclass
class Clocked(VllmServer):
    """A server, with the seconds of each call by its name."""

    url: str
    seconds: dict[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        super().__init__(self.url)

    async def _send(self, method: str, path: str, *more: object, **options: object) -> bytes:  # type: ignore[override]
        started = time.monotonic()
        try:
            return await super()._send(method, path, *more, **options)  # type: ignore[arg-type]
        finally:
            self.seconds[path] = time.monotonic() - started


@dataclass
class Trial:
    """A trainer, its shelf, and a server that has been started from it."""

    engine: LocalEngine
    shelf: Shelf
    member: Served = field(init=False)
    version: int = 0
    states: dict[int, dict[str, Tensor]] = field(default_factory=dict[int, dict[str, Tensor]])

    @classmethod
    def open(cls, path: str, folder: Path, rank: int | None = None) -> Trial:
        """Of a model's folder; `folder` is for the shelf. Its server is to be started from `place(0)` of that."""
        engine = LocalEngine.open(path, token_budget=4096, threads=2, lora=Lora(rank) if rank else None)
        return cls(engine, Shelf.open(folder, engine.policy, engine.tokenizer, path))

    def meet(self, url: str) -> None:
        """The server has started."""
        self.member = Served(f"the server {url}", Clocked(url))

    @property
    def trained(self) -> dict[str, Tensor]:
        return {n: p for n, p in self.engine.model.net.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def change(self, version: int, share: float = 0.02) -> None:
        """Every number of every weight is another."""
        random = torch.Generator().manual_seed(version)
        self.states.setdefault(version - 1, {n: p.clone() for n, p in self.trained.items()})
        for p in self.trained.values():
            size = p.abs().mean().clamp(min=0.02)
            p.add_(share * size * torch.randn(p.shape, generator=random))
        self.states[version] = {n: p.clone() for n, p in self.trained.items()}
        self.states.pop(version - 2, None)

    @torch.no_grad()
    def hold(self, version: int) -> None:
        for name, p in self.trained.items():
            p.copy_(self.states[version][name])

    def handshakes(self) -> Handshakes:
        return Handshakes(self.engine.trainer, self.engine.model.vocabulary, 512, is_tied(self.engine.model.net))

    async def ask(self, request: Request, tokens: int, model: str | None = None) -> Answer:
        sampling = Sampling(temperature=TEMPERATURE, max_tokens=tokens)
        return await self.member.server.generate(model or self.member.model, request, sampling)

    async def errors(self, request: Request, answer: Answer) -> Tensor:
        """Of each token, under the weights that the trainer holds."""
        group = Group(Prompt("p", "", tokens=request.prompt), (Completion(answer.tokens, reward=0.0),))
        batch = pack([group], self.engine.trainer.dtype, TEMPERATURE)
        outputs = await self.engine.trainer.forward(batch, "policy")
        assert outputs.logprobs is not None
        return (outputs.logprobs[batch.mask] - torch.tensor(answer.logprobs)).abs()


async def publications(trial: Trial, way: str, publisher: Publisher) -> list[Row]:
    """Three of them by one way."""
    first = trial.version + 1
    if not trial.states:
        trial.change(0, 0.0)
    return [await publication(trial, way, publisher, version) for version in range(first, first + PUBLICATIONS)]


async def publication(trial: Trial, way: str, publisher: Publisher, version: int) -> Row:
    """Change the weights and publish them while an answer is under way."""
    vocabulary, old = trial.engine.model.vocabulary, trial.member.model
    long = Request(tuple((7 * i + 3) % vocabulary for i in range(LONG)), version)
    await trial.ask(long, 4)  # its keys and values are in the cache of old ones
    trial.change(version)
    before = float((await trial.errors(long, await trial.ask(long, 16))).max())
    seconds: dict[str, float] = {}
    with clock(seconds, "place"):
        folder = trial.shelf.place(version)
    whole = await pace(trial, long)
    under_way = asyncio.gather(*(trial.ask(request, ANSWER, old) for request in several(long)))
    await asyncio.sleep(0.3 * whole)
    server = trial.member.server
    assert isinstance(server, Clocked)
    server.seconds.clear()
    with clock(seconds, "publish"):
        failed = await publisher.publish([trial.member], version, folder)  # type: ignore[list-item]
    seconds |= {path: spent for path, spent in server.seconds.items() if "generate" not in path}
    if failed:
        raise EngineError(failed[0][1], code="server-refused")
    answers = await under_way
    agreed, refused = await trial.handshakes().shake([trial.member], version)  # type: ignore[list-item]
    if refused:
        raise EngineError(refused[0][1], code="server-refused")
    seconds["handshake"] = agreed[0][1].seconds
    after = float((await trial.errors(long, await trial.ask(long, 16))).max())
    middle = max([await by_span(trial, long, answer, version, old) for answer in answers])
    trial.version = version
    known = {str(version - 1), str(version)} if old == "policy" else None
    covered = all(covers(answer, known) for answer in answers)
    met = max(answers, key=lambda answer: len(answer.spans))
    return Row(way, version, before, agreed[0][1].largest, after, met.spans, covered, middle, seconds)


def several(request: Request) -> list[Request]:
    """The same prompt with other seeds."""
    return [Request(request.prompt, request.seed * ANSWERS + i) for i in range(ANSWERS)]


def covers(answer: Answer, versions: set[str] | None) -> bool:
    """Whether spans follow each other over all of its tokens, and name these versions; of an adapter the name that was
    asked for is the version."""
    ends = [0, *(span.end for span in answer.spans)]
    follow = [span.start for span in answer.spans] == ends[:-1] and ends[-1] == len(answer.tokens)
    return follow and (versions is None or all(span.version in versions for span in answer.spans))


async def by_span(trial: Trial, request: Request, answer: Answer, version: int, name: str) -> float:
    """The largest error of an answer's tokens, each under the version of its span. Of an adapter's answer all are of
    the one that it was begun with."""
    worst = 0.0
    for span in answer.spans:
        known = int(span.version) if span.version.isdigit() else 0
        trial.hold(known if name == "policy" else version - 1)
        worst = max(worst, float((await trial.errors(request, answer))[span.start : span.end].max()))
    trial.hold(version)
    return worst


_pace: dict[str, float] = {}


async def pace(trial: Trial, request: Request) -> float:
    """Seconds of long answers, as many as are then under way; measured once."""
    url = trial.member.server.url
    if url not in _pace:
        started = time.monotonic()
        await asyncio.gather(*(trial.ask(one, ANSWER) for one in several(request)))
        _pace[url] = time.monotonic() - started
    return _pace[url]


class clock:
    """Seconds of a block, put into a dictionary."""

    def __init__(self, into: dict[str, float], name: str) -> None:
        self.into, self.name = into, name

    def __enter__(self) -> None:
        self.started = time.monotonic()

    def __exit__(self, *error: object) -> None:
        self.into[self.name] = time.monotonic() - self.started


def by_files(trial: Trial) -> Publisher:
    return Files()


def by_lora(trial: Trial) -> Publisher:
    return Adapters()


def by_stream(trial: Trial) -> Publisher:
    net = trial.engine.model.net
    return Stream(lambda folder: named_weights(net, folder), lambda member: GlooLink("127.0.0.1", 1, 60.0))


WAYS: dict[str, Callable[[Trial], Publisher]] = {"files": by_files, "lora": by_lora, "stream": by_stream}
