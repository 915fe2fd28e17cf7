"""Ranks as Ray actors: what they are given, what they say, how they end. One cluster serves the whole test."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from postlude.engines.ranks import local_cluster
from postlude.engines.ranks.crew import Blueprint, RankLost, Terms
from postlude.engines.ranks.group import OnRay, RayCrew
from postlude.engines.ranks.local_cluster import LocalCluster
from postlude.engines.settings import Local, Optimizer
from postlude.errors import EngineError, RewardError
from postlude.models.spec import ModelSpec
from postlude.waits import under_way
from tests.underway import eventually

KIND = "tests.engines.ranks.tiny:Tiny"


def blueprint(folder: Path) -> Blueprint:
    return Blueprint(ModelSpec("none"), Optimizer(), Local(device="cpu", trainers=2), 0, folder=folder)


def processes_of(pid: int) -> dict[int, str]:
    """Everything that runs below a process, each with when it began: numbers are used again soon."""
    parents: dict[int, int] = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    below = {pid}
    while more := {one for one, parent in parents.items() if parent in below} - below:
        below |= more
    return {one: seen[1] for one in below - {pid} if (seen := state(one))[0] not in ("", "Z")}


def commanded(pid: int) -> bytes:
    """Its command line, each word with a zero behind it."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def state(pid: int) -> tuple[str, str]:
    """`R`, `S`, `T` of one that is stopped; empty where there is none. And when it began, in the system's ticks."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0], fields[19]
    except OSError:
        return "", ""


def test_ranks_on_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start is seconds of processor time, so this is one story: what is asked, then every way to go wrong."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-a-judge-000000000000")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")]))
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        asyncio.run(story(tmp_path))
    finally:
        signal.signal(signal.SIGTERM, before)


async def story(folder: Path) -> None:
    before, there = dict(os.environ), processes_of(os.getpid())  # other tests of this process have workers that stay
    start = OnRay(Terms(2, timeout=60.0), KIND)
    crew = await start(blueprint(folder))
    started = {pid: began for pid, began in processes_of(os.getpid()).items() if there.get(pid) != began}
    try:
        assert dict(os.environ) == before | {"RAY_CLIENT_MODE": "0"}
        assert heeds_sigterm()
        await is_asked(crew)
        await stands_alone(crew, folder)
        await raises(crew)
        await dies(crew, folder)
        await is_followed(start, crew, folder)
    finally:
        await start.end()
    assert heeds_sigterm(), "Ray's library leaves it to the system as it ends"
    assert len(started) > 5
    await eventually_gone(started)
    await crew.close()
    with pytest.raises(RankLost, match="were ended"):
        await crew.call("about")
    assert not [*folder.glob(".seen-*")]


def heeds_sigterm() -> bool:
    """Whether this process has a handler of it."""
    caught = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


async def is_asked(crew: RayCrew) -> None:
    assert await crew.call("product", 3.0, [1.0, 2.0]) == [9.0, 9.0]  # they meet
    shared = np.arange(6, dtype=np.float32)
    rows, sums = zip(*await crew.call("batch", shared, [[0, 1], [4]]), strict=True)
    assert [len(one) for one in rows] == [2, 1] and list(sums) == [12.0, 10.0]
    assert shared.sum() == 15.0


async def stands_alone(crew: RayCrew, folder: Path) -> None:
    """A rank has what it needs, and no key; what belongs to the cluster is for its owner alone."""
    told: list[dict[str, Any]] = await crew.call("about")
    for about in told:
        assert not [name for name in about["environment"] if "KEY" in name or name.startswith("RAY_")]
        assert about["environment"]["OMP_NUM_THREADS"] == str(max(1, len(os.sched_getaffinity(0)) // 2))
        assert about["environment"]["GLOO_SOCKET_IFNAME"] == "lo"
        assert about["folder"] == os.getcwd()
        assert about["pid"] not in (os.getpid(), 0)
    cluster = crew._attached.cluster  # pyright: ignore[reportPrivateUsage]
    assert cluster is not None and cluster.address.startswith("127.0.0.1:")
    assert stat.S_IMODE((cluster.folder / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE(cluster.folder.stat().st_mode) == 0o700
    listening = listeners(set(processes_of(os.getpid())))
    assert listening and all(address == "127.0.0.1" for address in listening)
    assert {path.name for path in (folder / "ranks").iterdir()} == {"ray.log", "rank-0.log", "rank-1.log"}


def listeners(pids: set[int]) -> set[str]:
    """Addresses at which these processes listen for TCP."""
    sockets: set[str] = set()
    for pid in pids:
        for place in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = os.readlink(place)
            except OSError:
                continue
            if target.startswith("socket:["):
                sockets.add(target[8:-1])
    found: set[str] = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                host = fields[1].partition(":")[0][-8:]
                found.add(".".join(str(byte) for byte in reversed(bytes.fromhex(host))))
    return found


async def raises(crew: RayCrew) -> None:
    """What all of them raise on purpose is raised as it is, and they go on."""
    with pytest.raises(RewardError) as caught:
        await crew.call("both_raise")
    assert str(caught.value) == "wrong on 0\ndo this"
    assert caught.value.code == "reward-raised" and caught.value.what == "wrong on 0"
    assert await crew.call("product", 1.0, [1.0, 1.0]) == [2.0, 2.0]


async def dies(crew: RayCrew, folder: Path) -> None:
    """A rank that is killed is named, though another was the first to say that something is wrong; and who is waited
    for is said."""
    asked = asyncio.ensure_future(crew.call("one_stops"))
    while not any(wait.who.startswith("trainer rank 0 on host ") for wait in under_way()):
        await asyncio.sleep(0.05)
    while not (stopped := [one for one in processes_of(os.getpid()) if state(one)[0] == "T"]):
        await asyncio.sleep(0.05)
    os.kill(stopped[0], signal.SIGKILL)
    with pytest.raises(RankLost) as caught:
        await asked
    assert caught.value.rank == 1 and caught.value.cause.startswith("signal 9 (SIGKILL); ")
    assert "of the" in caught.value.cause and "the last words" in str(caught.value)
    assert str(folder / "ranks" / "rank-1.log") in str(caught.value)


async def is_followed(start: OnRay, crew: RayCrew, folder: Path) -> None:
    """By a crew on the same cluster, where nothing of it is left: no process, no place, no shared memory."""
    there = processes_of(os.getpid())
    ranks = {pid for pid in there if any(mark.encode() in commanded(pid) for mark in local_cluster.RANKS)}
    (gcs,) = [pid for pid in there if b"/gcs_server\0" in commanded(pid)]
    assert len(ranks) == 3  # two places, and the rank that did not die
    await crew.close()
    again = await start(blueprint(folder))
    assert not ranks & processes_of(os.getpid()).keys()
    assert processes_of(os.getpid())[gcs] == there[gcs]
    assert await again.call("product", 3.0, [1.0, 2.0]) == [9.0, 9.0]
    await again.close()
    attached = again._attached  # pyright: ignore[reportPrivateUsage]
    assert await attached.is_free()
    cluster = attached.cluster
    assert cluster is not None and not cluster.ranks_left()
    (raylet,) = [one for one in processes_of(os.getpid()) if b"/raylet/raylet\0" in commanded(one)]
    os.kill(raylet, signal.SIGSTOP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("postlude.engines.ranks.attached.ANSWERS", 1.0)
        assert not await attached.is_free(), "it does not answer"
    os.kill(raylet, signal.SIGCONT)
    assert await attached.is_free()
    os.kill(raylet, signal.SIGKILL)
    assert eventually(lambda: not attached.answers())
    assert not await attached.is_free(), "it is gone"


async def eventually_gone(processes: dict[int, str]) -> None:
    def left() -> list[int]:
        return [pid for pid, began in processes.items() if state(pid)[1] == began and state(pid)[0] != "Z"]

    assert await asyncio.to_thread(eventually, lambda: not left()), left()


def test_a_cluster_that_does_not_start_is_tried_three_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = tmp_path / "head.py"
    head.write_text("import sys; print('RuntimeError: timed out during startup'); sys.exit(1)")
    monkeypatch.setattr(local_cluster, "HEAD", head)
    cluster = LocalCluster(2, (), tmp_path / "logs")
    with pytest.raises(EngineError, match=r"in 3 tries(.|\n)*timed out during startup") as caught:
        cluster.start()
    assert caught.value.code == "no-cluster"
    assert len([*(tmp_path / "logs").iterdir()]) == 3
    cluster.end()
    assert not cluster.folder.exists()


def test_a_start_that_is_ended_does_not_begin_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = tmp_path / "head.py"
    head.write_text("import time; time.sleep(600)")
    monkeypatch.setattr(local_cluster, "HEAD", head)
    cluster = LocalCluster(2, (), tmp_path / "logs")
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(cluster.start)
        assert eventually(lambda: [*(tmp_path / "logs").glob("*")])
        cluster.end()
        with pytest.raises(EngineError, match="stopped while it started"):
            starting.result()
    assert len([*(tmp_path / "logs").iterdir()]) == 1
