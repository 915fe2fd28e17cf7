"""Each way to bring servers to a version, and each call of it failing: the others get it, and the one is named."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed import PrefixStore, ProcessGroupGloo, TCPStore

from postlude.engines.protocol import Request
from postlude.engines.servers import fleet as fleets
from postlude.engines.servers import wire
from postlude.engines.servers.fleet import Member
from postlude.engines.servers.publishing import Adapters, Files, Stream, publisher_for, way_of
from postlude.engines.servers.shelf import named_weights
from postlude.engines.servers.stream import BACKEND, PLUGIN, GlooLink, NcclLink, backend, connect
from postlude.engines.servers.wire import VllmServer
from postlude.engines.settings import Sampling, Servers
from postlude.models.lora import Lora
from tests.engines.servers.publishing import Stage, with_members
from tests.fake_vllm import FakeServer, Fault
from tests.pooling import fleet_of

PAUSE, RESUME, RELOAD, LABEL = "/pause", "/resume", "/collective_rpc", "/update_weight_version"
INIT, START, UPDATE, FINISH = (
    "/init_weight_transfer_engine", "/start_weight_update", "/update_weights", "/finish_weight_update",
)  # fmt: skip
LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
FAULTS = {
    "status": Fault(status=500),
    "drop": Fault(drop=True),
    "cut": Fault(cut=True),
    "hang": Fault(hang=True),
}


class Receiver:
    """The other end of a `GlooLink`, in a fake server's place: what the plugin does there."""

    def __init__(self, fake: FakeServer) -> None:
        self.fake, self.joined = fake, 0
        fake.at._routes["POST", INIT] = self.join
        fake.at.receive = self.receive

    async def join(self, call: Any, fault: Fault) -> tuple[int, Any]:
        await asyncio.to_thread(self._join, call.body["init_info"])
        self.joined += 1
        return 200, {}

    def _join(self, info: Mapping[str, Any]) -> None:
        store = TCPStore(info["host"], info["port"], is_master=False, timeout=timedelta(seconds=info["seconds"]))
        kind: Any = ProcessGroupGloo
        options = kind._Options()
        options._devices = [kind.create_device(hostname=info["host"])]
        options._timeout = timedelta(seconds=info["seconds"])
        self.group = kind(PrefixStore(info["name"], store), info["rank_offset"], info["world_size"], options)

    def receive(self, info: Mapping[str, Any]) -> Iterable[tuple[str, Tensor]]:
        for name, dtype, shape in zip(info["names"], info["dtype_names"], info["shapes"], strict=True):
            tensor = torch.empty(shape, dtype=getattr(torch, dtype))
            self.group.broadcast(tensor.view(-1).view(torch.uint8), 0).wait()
            yield name, tensor


@pytest.fixture(scope="module")
def stage(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    one = Stage(model_folder, tmp_path_factory.mktemp("run"))
    one.at(0)
    return one


@pytest.fixture(scope="module")
def pair(stage: Stage) -> Iterator[list[FakeServer]]:
    with FakeServer(stage.shelf.at(0), piece=4) as one, FakeServer(stage.shelf.at(0), piece=4) as other:
        yield [one, other]


@pytest.fixture(scope="module")
def adapters(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(model_folder, tmp_path_factory.mktemp("lora"), Lora(rank=4))


@pytest.fixture
def fakes(pair: list[FakeServer], monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakeServer]]:
    monkeypatch.setattr(wire, "SLOW", 5.0)
    for fake in pair:
        fake.at.calls.clear(), fake.at.faults.clear(), fake.at.always.clear(), fake.at.adapters.clear()
        fake.at.paused, fake.at.label = False, "default"
    yield pair


def stream(stage: Stage, seconds: float = 20.0) -> Stream:
    return Stream(
        lambda folder: named_weights(stage.engine.model.net, folder),
        lambda member: GlooLink("127.0.0.1", 1, seconds),
    )


def agree(stage: Stage, version: int, fakes: list[FakeServer], model: str = "policy") -> bool:
    """Whether every server samples from the trainer's weights."""
    agreed, refused = with_members(fakes, lambda members: stage.handshakes().shake(members, version), model)
    assert not refused or not agreed
    return not refused


_versions = iter(range(1, 10_000))


def next_version() -> int:
    return next(_versions)


# ------------------------------------------------------------------------------------------------ when all is well


def test_by_files_each_reads_the_folder_while_it_is_paused(stage: Stage, fakes: list[FakeServer]) -> None:
    version = next_version()
    folder = stage.at(version)
    assert with_members(fakes, lambda members: Files().publish(members, version, folder)) == []
    for fake in fakes:
        assert fake.calls == [PAUSE, RELOAD, LABEL, RESUME]
        assert fake.bodies(RELOAD) == [{"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}]
    assert agree(stage, version, fakes)


def test_one_after_the_other_so_that_the_rest_go_on(stage: Stage, fakes: list[FakeServer]) -> None:
    """While one is held up in its reload, the other has not even been paused."""
    version, seen = next_version(), list[list[str]]()
    folder = stage.at(version)
    fakes[0].next(RELOAD, Fault(delay=0.3))

    async def watch(members: list[Member]) -> None:
        publishing = asyncio.create_task(Files().publish(members, version, folder))
        while RELOAD not in fakes[0].calls:
            await asyncio.sleep(0.01)
        seen.append(fakes[1].calls)
        assert await publishing == []

    with_members(fakes, watch)
    assert seen == [[]]


def test_an_answer_goes_on_with_the_new_weights_and_says_from_which_token(
    stage: Stage, fakes: list[FakeServer]
) -> None:
    first, second = next_version(), next_version()
    folders = [stage.at(first)]
    with_members(fakes[:1], lambda members: Files().publish(members, first, folders[0]))
    folders.append(stage.at(second))

    async def in_the_middle(members: list[Member]) -> Any:
        server, at = members[0].server, fakes[0].at
        sampling = Sampling(temperature=0.7, max_tokens=160)
        for seed in range(1000):  # until one is frozen before it has ended
            answer = asyncio.create_task(server.generate("policy", Request(tuple(range(3, 23)), seed), sampling))
            while not answer.done() and not (at.jobs and at.jobs[0].tokens):
                await asyncio.sleep(0.001)
            await server.pause()
            if at.jobs:
                break
            await server.resume()
        assert await Files().publish(members[:1], second, folders[1]) == []
        return await answer

    spans = with_members(fakes[:1], in_the_middle).spans
    assert [span.version for span in spans] == [str(first), str(second)]


def test_by_stream_over_gloo_a_group_is_made_once(stage: Stage, fakes: list[FakeServer]) -> None:
    ends, publisher = [Receiver(fake) for fake in fakes], stream(stage)
    versions = [next_version(), next_version()]

    async def twice(members: list[Member]) -> None:
        for version in versions:
            assert await publisher.publish(members, version, await asyncio.to_thread(stage.at, version)) == []

    with_members(fakes, twice)
    for fake, end in zip(fakes, ends, strict=True):
        assert fake.calls == [INIT, *(PAUSE, START, UPDATE, FINISH, RESUME) * 2]
        assert end.joined == 1 and fake.at.label == str(versions[1])
    assert agree(stage, versions[1], fakes)


def test_a_server_that_comes_up_late_gets_its_version_though_the_trainer_has_moved_on(
    stage: Stage, fakes: list[FakeServer]
) -> None:
    Receiver(fakes[0])
    version, later = next_version(), next_version()

    async def late(members: list[Member]) -> Any:
        folder, handshakes = await asyncio.to_thread(stage.at, version), stage.handshakes()
        await asyncio.to_thread(stage.at, later)
        assert await stream(stage).welcome(members[0], version, folder) == []
        return await handshakes.shake(members, version, stage.shelf.read(version))

    agreed, refused = with_members(fakes[:1], late)
    assert not refused and agreed[0][1].largest < 1e-5


def test_by_adapters_nothing_is_paused_and_two_stay(adapters: Stage, model_folder: Path) -> None:
    publisher = Adapters()
    with FakeServer(model_folder) as fake:

        async def four(members: list[Member]) -> str:
            of_a_run_before = await asyncio.to_thread(adapters.at, 7)
            await members[0].server.load_adapter("v7", of_a_run_before)
            assert await publisher.welcome(members[0], 11, await asyncio.to_thread(adapters.at, 11)) == []
            for version in (12, 13, 14):
                folder = await asyncio.to_thread(adapters.at, version)
                assert await publisher.publish(members, version, folder) == []
            return members[0].model

        assert with_members([fake], four) == "v14"
        assert [*fake.at.adapters] == ["v13", "v14"] and PAUSE not in fake.calls
        assert agree(adapters, 14, [fake], "v14") and not agree(adapters, 14, [fake], "v13")


# -------------------------------------------------------------------------------------------- when a call fails


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("path", [PAUSE, RELOAD, LABEL, RESUME])
def test_by_files_who_fails_is_named_and_the_other_has_the_version(
    path: str, fault: str, stage: Stage, fakes: list[FakeServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "hang":
        monkeypatch.setattr(wire, "SLOW", 1.0)
    version = next_version()
    folder = stage.shelf.to_start_from()
    fakes[0].next(path, FAULTS[fault])
    failed = with_members(fakes, lambda members: Files().publish(members, version, folder))
    assert [member.name.split()[1] for member, _ in failed] == ["1"] and path in failed[0][1]
    assert fakes[0].calls == [PAUSE, RELOAD, LABEL, RESUME][: [PAUSE, RELOAD, LABEL, RESUME].index(path) + 1]
    assert fakes[1].at.label == str(version) and not fakes[1].at.paused


@pytest.mark.parametrize("fault", ["status", "drop"])
@pytest.mark.parametrize("path", [INIT, PAUSE, START, UPDATE, FINISH, RESUME])
def test_by_stream_who_fails_is_named_and_the_other_has_the_version(
    path: str, fault: str, stage: Stage, fakes: list[FakeServer]
) -> None:
    version, publisher = next_version(), stream(stage, 0.5)
    folder = stage.shelf.to_start_from()
    for fake in fakes:
        Receiver(fake)
    fakes[0].next(path, FAULTS[fault])
    failed = with_members(fakes, lambda members: publisher.publish(members, version, folder))
    assert [member.name.split()[1] for member, _ in failed] == ["1"] and path in failed[0][1]
    assert fakes[1].at.label == str(version) and not fakes[1].at.paused


def test_a_server_that_says_it_takes_part_and_does_not_is_given_up_after_the_limit(
    stage: Stage, fakes: list[FakeServer]
) -> None:
    version, publisher = next_version(), stream(stage, 0.3)
    fakes[0].next(INIT, Fault(skip=True))
    folder = stage.shelf.to_start_from()
    failed = with_members(fakes[:1], lambda members: publisher.publish(members, version, folder))
    assert len(failed) == 1 and failed[0][1].startswith("joining a group")


@pytest.mark.parametrize("path", [LOAD, UNLOAD])
def test_an_adapter_that_cannot_be_loaded_or_unloaded_is_a_failure(
    path: str, adapters: Stage, model_folder: Path
) -> None:
    publisher = Adapters()
    with FakeServer(model_folder) as fake:

        async def third(members: list[Member]) -> list[tuple[Member, str]]:
            one, two, three = (100 + next_version() for _ in range(3))
            for version in (one, two):
                assert not await publisher.publish(members, version, await asyncio.to_thread(adapters.at, version))
            fake.next(path, Fault(status=500))
            failed = await publisher.publish(members, three, await asyncio.to_thread(adapters.at, three))
            assert members[0].model == (f"v{two}" if path == LOAD else f"v{three}")
            return failed

        assert [path in why for _, why in with_members([fake], third)] == [True]


def test_a_server_is_not_left_paused_where_the_run_is_stopped_in_the_middle(
    stage: Stage, fakes: list[FakeServer]
) -> None:
    """It may be somebody else's, and go on without us."""
    fakes[0].next(RELOAD, Fault(delay=0.2))

    async def stopped(members: list[Member]) -> None:
        publishing = asyncio.create_task(Files().publish(members, 1, stage.shelf.to_start_from()))
        while RELOAD not in fakes[0].calls:
            await asyncio.sleep(0.01)
        publishing.cancel()
        with suppress(asyncio.CancelledError):
            await publishing

    with_members(fakes, stopped)
    assert fakes[0].calls == [PAUSE, RELOAD, RESUME] and not fakes[0].at.paused and fakes[1].calls == []


# ------------------------------------------------------------------------------------------------------- choosing


def test_auto_is_an_adapter_or_files() -> None:
    assert [way_of("auto", adapter) for adapter in (True, False)] == ["lora", "files"]
    assert way_of("files", True) == "files" and way_of("stream", False) == "stream"
    kinds = [
        publisher_for(way, lambda folder: {}, lambda member: GlooLink("", 1, 1)) for way in ("files", "lora", "stream")
    ]
    assert [type(kind) for kind in kinds] == [Files, Adapters, Stream]


@pytest.mark.parametrize(
    ("device", "colocate", "kind", "ranks"),
    [("cpu", False, GlooLink, 1), ("cuda", False, NcclLink, 2), ("cuda", True, GlooLink, 2)],
)
def test_between_gpus_it_is_nccl_and_elsewhere_gloo(
    device: str, colocate: bool, kind: type[Any], ranks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes on one GPU cannot meet over NCCL; on a CPU a server is one process whatever `gpus` says."""
    monkeypatch.setattr(torch.cuda.nccl, "unique_id", lambda: b"x" * 128)
    servers = Servers(count=1, python="python", gpus=2, colocate=colocate)
    link = connect(servers, torch.device(device), Member("server 1", VllmServer("http://127.0.0.1:9"), None))
    assert type(link) is kind and link.info()["world_size"] == ranks + 1 and link.info()["rank_offset"] == 1
    assert backend(servers, device == "cuda")[0] == ("nccl" if kind is NcclLink else "postlude-gloo")
    link.close()


def test_the_plugin_is_where_an_interpreter_finds_it_by_its_entry_point() -> None:
    from importlib.metadata import distributions

    (plugin,) = distributions(path=[str(PLUGIN)])
    (entry,) = plugin.entry_points
    assert (entry.group, entry.value) == ("vllm.general_plugins", "postlude_gloo:register")
    assert f'BACKEND = "{BACKEND}"' in (PLUGIN / "postlude_gloo" / "__init__.py").read_text()


def test_the_store_of_a_group_listens_on_loopback_alone() -> None:
    """On any other address of this machine nobody answers."""
    import socket

    link = GlooLink("127.0.0.1", 1, 1.0)
    port = link.info()["port"]
    with socket.create_connection(("127.0.0.1", port), 2):
        pass
    with pytest.raises(OSError), socket.create_connection(("127.0.0.2", port), 2):
        pass
    link.close()


@pytest.mark.parametrize("fault", [Fault(), Fault(hang=True)], ids=["resumed", "silent"])
def test_a_server_of_somebody_else_that_is_left_paused_is_resumed_in_the_end(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr(fleets, "QUICK", 10.0 if fault == Fault() else 0.5)
    heard: list[str] = []

    async def main(fake: FakeServer) -> None:
        fleet = fleet_of([fake.url], say=heard.append)
        await fleet.open()
        (member,) = fleet.members
        fake.next(RELOAD, Fault(status=500))
        assert [one for one, _ in await Files().publish([member], 1, Path("nowhere"))] == [member]
        assert fake.at.paused
        fake.next(RESUME, fault)
        await fleet.close()

    with FakeServer(model_folder) as fake:
        asyncio.run(main(fake))
        assert fake.at.paused == (fault != Fault())
    assert len(heard) == (fault != Fault())
    assert all("is left paused" in text and "POST /resume lets it answer again" in text for text in heard)
