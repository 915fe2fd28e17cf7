"""What a run costs on so many GPUs: how they are shared out, what each holds, how long a step takes, what to change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Literal

from postlude.facts import hardware as hw
from postlude.facts.hardware import Gpu
from postlude.models.lora import Lora
from postlude.sizing.draw import Draw, with_answers
from postlude.sizing.estimate import Estimate, rows_at_once, sized, token_bytes
from postlude.sizing.layout import ALONE, Layout, layouts, numbers, slots, widths
from postlude.sizing.ranks import shared_out
from postlude.sizing.seconds import Seconds, Step, parts_of, phases, together, total
from postlude.sizing.setting import Setting
from postlude.sizing.shape import Shape
from postlude.words import counted

Way = Literal["files", "lora", "stream"]
ROOMY = 2 / 3
"""Of a server's memory, that its weights may take: the rest is for keys and values."""
DRASTIC = ("model.lora", "sampling.max_tokens")
"""Keys under which a run learns something else."""
WORTH = 0.03
"""Of a step: a change that saves less is not named."""


@dataclass(frozen=True)
class Run:
    """A run as it would be set up, wherever it goes."""

    shape: Shape
    setting: Setting
    draw: Draw
    steps: int = 100
    way: Way = "files"
    """How servers get weights."""
    commit_every: int | None = None
    """Steps from one checkpoint that is saved before a publication to the next; None: what is usual for the layout."""
    checkpoint_every: int = 50
    """The same where nothing is published."""
    concurrency: int = 256
    """Answers under way at once, at each server."""
    server_gpus: int | None = None
    """Of each server; None: the fewest that do."""
    fixed: Layout | None = None
    """Ranks and servers that a recipe itself asks for: taken as they are on as many GPUs as that."""


@dataclass(frozen=True)
class Server:
    """What a server holds."""

    weights: int
    room: int
    """Bytes for keys and values."""
    each: int
    """Bytes of an answer of the mean length with its prompt."""
    rows: int
    """Answers that it samples at a time."""


@dataclass(frozen=True)
class Cost:
    """What a run costs on so many GPUs."""

    run: Run
    gpu: Gpu
    count: int
    layout: Layout
    rank: Estimate
    """Memory of a rank; of all of it where one process does everything."""
    server: Server | None
    parts: tuple[Seconds, ...]
    others: tuple[tuple[Layout, float], ...] = ()
    """Other ways to share the GPUs out, with their seconds: the neighbours; of a recipe's own, what is faster."""
    refused: str = ""
    """Why there is no way to share them out."""

    @property
    def idle(self) -> int:
        """GPUs that are left over."""
        return self.count - self.layout.total

    @property
    def is_fixed(self) -> bool:
        """Whether ranks and servers are those that the recipe asks for."""
        return self.layout == self.run.fixed

    @property
    def fits(self) -> bool:
        return not self.refused and self.rank.fits is not False

    @property
    def seconds(self) -> float:
        """Of a step."""
        return total(self.parts, self.run.draw.lag)

    @property
    def tokens(self) -> float:
        """Sampled, or else trained, in a second."""
        draw = self.run.draw
        return (draw.sampled if draw.samples else draw.tokens) / self.seconds

    @property
    def hours(self) -> float:
        """Of the whole run, evaluations aside."""
        return self.seconds * self.run.steps / 3600

    @property
    def gpu_hours(self) -> float:
        return self.hours * self.count

    @property
    def first(self) -> Seconds:
        """The part that most of a step goes to."""
        learns = sum(one.seconds for one in self.parts if one.phase == "learn")
        samples = sum(one.seconds for one in self.parts if one.phase == "sample")
        behind = ("sample" if learns > samples else "learn") if self.run.draw.lag else ""
        return max((one for one in self.parts if one.phase != behind), key=lambda one: one.seconds)

    @property
    def changes(self) -> list[Change]:
        """What would make a step shorter: first what teaches the same, then the rest; of each the most first."""
        shorter: list[Change] = []
        for key, run, price in _changes(self):
            other = cost(run, self.gpu, self.count)
            if other.fits and other.seconds < (1 - WORTH) * self.seconds:
                shorter.append(Change(key, other.seconds, price, other.layout))
        return sorted(shorter, key=lambda one: (one.key.startswith(DRASTIC), one.seconds))


@dataclass(frozen=True)
class Change:
    """A setting under which a step is shorter."""

    key: str
    seconds: float
    """Of a step with it."""
    price: str
    layout: Layout
    """How the GPUs are shared out then."""


def cost(run: Run, gpu: Gpu, count: int) -> Cost:
    """Of so many GPUs, shared out so that a step is shortest among what fits; or as the recipe itself does."""
    ways = fitting(run, gpu, count)
    if run.fixed and run.fixed.total == count:
        return _as_asked(run, gpu, run.fixed, ways)
    if not ways:
        return _without(run, gpu, count)
    best = fastest(ways)
    return replace(_built(run, gpu, best), count=count, others=neighbours(ways, best))


def _as_asked(run: Run, gpu: Gpu, layout: Layout, ways: Mapping[Layout, float]) -> Cost:
    """As a recipe says, with what would be faster, or fit."""
    asked = _built(run, gpu, layout)
    if layout.servers and not _holds(run, gpu, layout.gpus):
        wide = width_of(run, gpu, hw.PER_HOST)
        more = f"engine.servers.gpus={wide}" if wide else "a smaller model"
        refused = f"a server on {counted(layout.gpus, 'GPU')} does not hold this model with room for answers: {more}"
        asked = replace(asked, refused=refused)
    best = fastest(ways) if ways else layout
    faster = best != layout and not (asked.fits and asked.seconds <= ways[best])
    return replace(asked, others=((best, ways[best]),) if faster else ())


def _without(run: Run, gpu: Gpu, count: int) -> Cost:
    """Where nothing fits: the way that asks least of a rank, or why there is none."""
    if not run.draw.samples or count == 1:
        return cost_on(run, gpu, ALONE if run.draw.samples else Layout(count))
    width = _width(run, gpu, count)
    if width is None or width >= count:
        most = f"{width} GPUs" if width else f"more than {min(count, hw.PER_HOST)}"
        whole = cost_on(run, gpu, Layout(count))
        return replace(whole, refused=f"a server of this model takes {most}, and one more has to train")
    ranks = min(numbers(count - width), key=lambda one: _rank(run, gpu, Layout(one, 1, width)).peak)
    servers = min(slots(count, width), (count - ranks) // width)
    return replace(_built(run, gpu, Layout(ranks, servers, width)), count=count)


def fitting(run: Run, gpu: Gpu, count: int) -> dict[Layout, float]:
    """Every way to share so many GPUs out that fits -> seconds of a step."""
    if not run.draw.samples:
        each = [cost_on(run, gpu, Layout(ranks)) for ranks in numbers(count)]
        return {one.layout: one.seconds for one in each if one.fits}
    alone = cost_on(run, gpu, ALONE)
    ways = {ALONE: alone.seconds} if alone.fits else {}
    width = _width(run, gpu, count)
    return ways | (_served(run, gpu, count, width) if width else {})


def _served(run: Run, gpu: Gpu, count: int, width: int) -> dict[Layout, float]:
    """Those with servers of so many GPUs. Seconds are sums of what ranks take and what servers take (what depends on
    both knows of the ranks only whether there are several), so each number is worked out once and not each pair."""

    @cache
    def sums(ranks: int, servers: int) -> tuple[float, float, float]:
        return phases(_built(run, gpu, Layout(ranks, servers, width)).parts)

    @cache
    def fits(ranks: int) -> bool:
        return _rank(run, gpu, Layout(ranks, 1, width)).fits is not False

    def seconds(one: Layout) -> float:
        few = min(2, one.trainers)
        (_, learning, ranked), (sampling, _, served) = sums(one.trainers, 1), sums(few, one.servers)
        return together(sampling, learning, ranked + served - sums(few, 1)[2], run.draw.lag)

    return {one: seconds(one) for one in layouts(count, width) if fits(one.trainers)}


def fastest(ways: Mapping[Layout, float]) -> Layout:
    """Of those that are equally fast to a nanosecond, the one on the fewest GPUs."""
    return min(ways, key=lambda one: (round(ways[one], 9), one.total, one.trainers))


def neighbours(ways: Mapping[Layout, float], best: Layout) -> tuple[tuple[Layout, float], ...]:
    """One step fewer and more ranks, with the servers that suit them best; and one step fewer and more servers."""
    served = [one for one in ways if not one.alone]
    ranks = sorted({one.trainers for one in ways if one.alone == best.alone})
    place = ranks.index(best.trainers)
    beside = {*ranks[max(0, place - 1) : place], *ranks[place + 1 : place + 2]}
    near = [fastest({one: ways[one] for one in served if one.trainers == many}) for many in sorted(beside)]
    same = sorted((one for one in served if one.trainers == best.trainers), key=lambda one: one.servers)
    around = same.index(best) if best in same else 0
    near += same[max(0, around - 1) : around + 2]
    return tuple((one, ways[one]) for one in dict.fromkeys(near) if one != best)


def _built(run: Run, gpu: Gpu, layout: Layout) -> Cost:
    """Of a layout as postlude runs it: out of several trainers' memory no tensor goes to servers."""
    stream = run.way == "stream" and layout.trainers > 1
    return replace(cost_on(replace(run, way="files") if stream else run, gpu, layout), run=run)


def cost_on(run: Run, gpu: Gpu, layout: Layout) -> Cost:
    """Of a layout as it is."""
    rank = _rank(run, gpu, layout)
    rows = rows_at_once(run.shape, rank.setting, rank.plan) if layout.alone and run.draw.samples else 1
    server = None
    if layout.servers and not layout.alone:
        server = server_of(run, gpu, layout.gpus)
        rows = server.rows
    step = Step(run.shape, run.setting, run.draw, layout, gpu, rank.plan, rows, run.way, _saving(run, layout))
    return Cost(run, gpu, layout.total, layout, rank, server, tuple(parts_of(step)))


def _saving(run: Run, layout: Layout) -> int:
    """Steps from one save to the next, as `Recipe.commit_every` has them."""
    if run.draw.samples and not layout.alone:
        return 1 if run.commit_every is None else run.commit_every
    if layout.trainers > 1:
        return 10 if run.commit_every is None else run.commit_every
    return run.checkpoint_every


def _rank(run: Run, gpu: Gpu, layout: Layout) -> Estimate:
    return _memory(run.shape, run.setting, gpu, layout.trainers, layout.alone)


@lru_cache(maxsize=4096)
def _memory(shape: Shape, setting: Setting, gpu: Gpu, trainers: int, alone: bool) -> Estimate:
    """Of a rank. It is asked for again with every number of servers."""
    one = shared_out(replace(setting, device="cuda", served=not alone), trainers)
    if not alone:
        one = replace(one, work=replace(one.work, answers=0, first_prompts=0), apart=False)
    return sized(shape, replace(one, room=int(gpu.memory), bound=gpu.name))


def server_of(run: Run, gpu: Gpu, width: int) -> Server:
    """A server on so many GPUs."""
    weights = run.setting.size * run.shape.parameters
    room = max(0, int(hw.HELD.value * width * gpu.memory) - weights)
    each = int((run.draw.prompt + run.draw.answer) * token_bytes(run.shape, run.setting.size))
    return Server(weights, room, each, max(1, min(run.concurrency, room // max(1, each))))


def width_of(run: Run, gpu: Gpu, count: int) -> int | None:
    """The fewest GPUs that hold a server's weights with room for keys and values; None where a host does not."""
    return next((width for width in widths(count) if _holds(run, gpu, width)), None)


def _width(run: Run, gpu: Gpu, count: int) -> int | None:
    """Of the recipe's own servers, where it says so."""
    return run.server_gpus if run.server_gpus and _holds(run, gpu, run.server_gpus) else width_of(run, gpu, count)


def _holds(run: Run, gpu: Gpu, width: int) -> bool:
    """Whether a server on so many GPUs has room for its weights and for the longest answer."""
    server = server_of(run, gpu, width)
    longest = run.draw.longest_sequence * token_bytes(run.shape, run.setting.size)
    return server.weights <= ROOMY * hw.HELD.value * width * gpu.memory and server.room >= longest


def _changes(one: Cost) -> Iterator[tuple[str, Run, str]]:
    """(KEY=VALUE, the run with it, what it costs), one at a time."""
    run, draw, setting = one.run, one.run.draw, one.run.setting
    if setting.dtype == "float32":
        yield "engine.dtype=bfloat16", replace(run, setting=replace(setting, dtype="bfloat16")), "coarser rounding"
    if setting.lora is None:
        adapter = replace(run, setting=replace(setting, lora=Lora()), way="lora")
        yield "model.lora.rank=16", adapter, "an adapter trains instead of all weights"
    if setting.checkpointing:
        plain = replace(run, setting=replace(setting, checkpointing=False))
        yield "engine.gradient_checkpointing=false", plain, "more memory"
    if _saving(run, one.layout) == 1:
        yield "engine.commit_every=10", replace(run, commit_every=10), "a killed run makes up to 10 steps again"
    if not draw.samples:
        return
    if not draw.lag and not one.layout.alone:
        yield "max_lag=1", replace(run, draw=replace(draw, lag=1)), "answers of weights one step old, and a correction"
    if run.way == "files" and not one.layout.alone:
        yield "engine.publish=stream", replace(run, way="stream"), "no GPU has run it yet"
    if one.server and one.server.rows == run.concurrency:
        wider = f"engine.servers.concurrency={2 * run.concurrency}"
        yield wider, replace(run, concurrency=2 * run.concurrency), "each answer is slower"
    if draw.longest > draw.answer:
        shorter = replace(draw, longest=max(draw.answer, draw.longest / 2))
        yield f"sampling.max_tokens={draw.longest / 2:.0f}", replace(run, draw=shorter), "longer answers are cut off"
    else:
        half = with_answers(draw, 0.5)
        yield f"sampling.max_tokens={half.longest:.0f}", replace(run, draw=half), "longer answers are cut off"
