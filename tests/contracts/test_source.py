"""The contract of a source (`sources.source.Source`), held against every implementation."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from postlude.data import Prompt
from postlude.engines.local.engine import LocalEngine
from postlude.engines.settings import Sampling
from postlude.rewards.rewards import Rewards
from postlude.rewards.spec import RewardSpec
from postlude.rollouts.ahead import Ahead
from postlude.rollouts.rollout import RolloutSource
from postlude.sources.file import FileSource
from postlude.sources.order import Cursor
from postlude.sources.source import Drawn, Source
from tests.streaming import rolled_out
from tests.underway import HANGS

STEPS = 6


def of_a_file(folder: Path) -> Source:
    return FileSource(rolled_out(7, 2), 3, Cursor(7, seed=1))


def rollouts(folder: Path) -> Source:
    engine = LocalEngine.open(str(folder))
    render = engine.renderer.with_tokens
    prompts = [render(Prompt(str(i), f"{i}+{i}=", str(2 * i), {"answer": str(2 * i)})) for i in range(7)]
    rewards = Rewards.of((RewardSpec("exact"),))
    return RolloutSource(prompts, engine.sampler, rewards, Sampling(max_tokens=6), 3, 2, Cursor(7, seed=1), seed=1)


def sampled_ahead(folder: Path) -> Source:
    source = rollouts(folder)
    assert isinstance(source, RolloutSource)
    return Ahead(source)


SOURCES: list[Callable[[Path], Source]] = [of_a_file, rollouts, sampled_ahead]


@pytest.fixture(params=SOURCES, ids=lambda make: make.__name__)
def make(request: pytest.FixtureRequest, model_folder: Path) -> Callable[[], Source]:
    return lambda: request.param(model_folder)


async def drawn(source: Source, first: int, last: int) -> list[Drawn]:
    """The draws of steps first to last - 1; settled after each, as the loop does before it publishes."""
    draws = []
    for step in range(first, last):
        draws.append(await source.draw(step, STEPS))
        await source.settle()
    return draws


def contents(draws: list[Drawn]) -> list[object]:
    return [[(g.prompt.id, [(c.tokens, c.reward) for c in g.completions]) for g in d.groups] for d in draws]


def test_a_draw_has_groups_with_answers(make: Callable[[], Source]) -> None:
    (draw,) = asyncio.run(drawn(make(), 0, 1))
    assert len(draw.groups) == 3 and all(g.completions for g in draw.groups)
    assert all(isinstance(value, float | int) for value in draw.report.values())


def test_two_sources_of_one_seed_draw_the_same(make: Callable[[], Source]) -> None:
    assert contents(asyncio.run(drawn(make(), 0, 3))) == contents(asyncio.run(drawn(make(), 0, 3)))


def test_a_restored_source_goes_on_as_if_nothing_had_been(make: Callable[[], Source]) -> None:
    async def with_a_pause() -> list[object]:
        first = make()
        begun = await drawn(first, 0, 2)
        state = json.loads(json.dumps(first.state()))
        first.close()
        second = make()
        second.restore(state)
        rest = await drawn(second, 2, 4)
        second.close()
        return contents([*begun, *rest])

    async def at_a_stretch() -> list[object]:
        source = make()
        draws = await drawn(source, 0, 4)
        source.close()
        return contents(draws)

    assert asyncio.run(with_a_pause()) == asyncio.run(at_a_stretch())


def test_taking_the_state_changes_nothing(make: Callable[[], Source]) -> None:
    async def drawn_twice() -> tuple[list[object], list[object]]:
        asked, plain = make(), make()
        both = []
        for source, ask in ((asked, True), (plain, False)):
            draws = await drawn(source, 0, 2)
            if ask:
                source.state()
            draws += await drawn(source, 2, 3)
            source.close()
            both.append(contents(draws))
        return both[0], both[1]

    one, other = asyncio.run(drawn_twice())
    assert one == other


def test_closing_stops_a_draw_that_nobody_trains_on(make: Callable[[], Source]) -> None:
    async def left() -> None:
        source = make()
        await source.draw(0, STEPS)
        source.close()
        source.close()

    asyncio.run(asyncio.wait_for(left(), HANGS))
