"""The fake as a process of its own: started, asked and stopped as the real one is."""

from __future__ import annotations

import asyncio
from pathlib import Path

from postlude.engines.protocol import Request
from postlude.engines.servers import interpreter as interpreters
from postlude.engines.servers.command import Launch
from postlude.engines.servers.fleet import Fleet
from postlude.engines.settings import Sampling, Servers
from tests.fake_vllm import FakeServer, interpreter
from tests.fake_vllm.server import GENERATE
from tests.pooling import QUICK, labelled, pool_of


def test_a_fleet_starts_it_and_its_answers_are_those_of_one_in_this_process(model_folder: Path, tmp_path: Path) -> None:
    python = interpreter(tmp_path / "env")
    assert interpreters.inspect(str(python)).version == "0.32.0"
    launch = Launch(python, "float32", max_length=256)
    requests = [Request((5, 6, 7), seed) for seed in range(4)]

    async def answers(fleet: Fleet) -> list[tuple[int, ...]]:
        await fleet.open()
        try:
            pool = pool_of(model_folder, fleet, {3})
            by_index = {i: c async for i, c in pool.sample(requests, Sampling(max_tokens=12))}
            assert {c.policy_version for c in by_index.values()} == {3}
            return [by_index[i].tokens for i in range(4)]
        finally:
            await fleet.close()

    ours = Fleet(Servers(count=1, python=str(python)), tmp_path, launch, patience=QUICK)
    ours.newest, ours.admit = lambda: model_folder, labelled(3)
    seen = asyncio.run(answers(ours))
    with FakeServer(model_folder) as fake:
        theirs = Fleet(Servers(urls=(fake.url,)), tmp_path, urls=[fake.url], patience=QUICK)
        theirs.admit = labelled(3)
        assert asyncio.run(answers(theirs)) == seen
        assert fake.calls.count(GENERATE) == 4
