"""One server's processes: started as told, and nothing left of them, whoever is killed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from postlude.engines import keeping
from postlude.engines.servers.command import Launch, command_line, environment
from postlude.engines.servers.process import PREFIX, ServerProcess, first_error, reserve
from postlude.errors import EngineError
from tests.bare_server import Bare, eventually, runs


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bare]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    one = Bare(tmp_path / "env")
    yield one
    one.end()


def start(bare: Bare, wait: bool = True, **changes: object) -> ServerProcess:
    launch = Launch(bare.python, "float32", 64, **changes)  # type: ignore[arg-type]
    before = len(bare.starts)
    process = ServerProcess(launch, 0, bare.folder / "model", bare.folder / "servers")
    if wait:
        eventually(lambda: len(bare.starts) > before)
    return process


def test_it_is_started_with_exactly_the_command_and_the_environment(
    bare: Bare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a key of somebody")
    monkeypatch.setenv("PYTHONPATH", "/ours")
    process = start(bare)
    (facts,) = bare.starts
    launch = Launch(bare.python, "float32", 64)
    port = int(process.url.rpartition(":")[2])
    assert [str(bare.python), *facts["argv"]] == command_line(launch, bare.folder / "model", port)
    assert {**facts["env"], "TMPDIR": None} == {**environment(launch, ()), "TMPDIR": None}
    assert facts["env"]["TMPDIR"] == facts["cwd"], "a folder of its own"
    assert process.pid == facts["pid"]
    assert process.end()
    assert not os.path.exists(facts["cwd"])


@pytest.mark.parametrize("at_once", [False, True])
def test_stopping_leaves_nothing_even_of_another_group_and_happens_once(bare: Bare, at_once: bool) -> None:
    process = start(bare)
    assert process.ended() is None and len(bare.left()) == 3
    assert process.end(at_once)
    assert bare.left() == []
    assert process.ended() == f"signal {signal.SIGKILL if at_once else signal.SIGTERM}"
    assert process.end() and process.end(at_once=True)


def test_a_process_that_is_stopped_is_killed(bare: Bare) -> None:
    process = start(bare)
    os.kill(bare.starts[0]["pid"], signal.SIGSTOP)
    assert process.end(at_once=True)
    assert bare.left() == []


def test_the_rest_goes_with_the_process_that_answers(bare: Bare) -> None:
    process = start(bare)
    os.kill(bare.starts[0]["pid"], signal.SIGKILL)
    eventually(lambda: process.ended() == "signal 9")
    assert bare.left() == [] and process.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_keeper_that_is_killed_takes_the_server_along(bare: Bare, number: int) -> None:
    process = start(bare)
    (facts,) = bare.starts
    os.kill(process._keeper.pid, number)  # pyright: ignore[reportPrivateUsage]
    eventually(lambda: not runs(facts["pid"]) and not runs(facts["worker"]))
    assert process.end()


DRIVER = """
import os, sys, time
from pathlib import Path
from postlude.engines.servers.command import Launch
from postlude.engines.servers.process import ServerProcess
python = Path(sys.argv[1])
process = ServerProcess(Launch(python, "float32", 64), 0, python.parent / "model", python.parent / "servers")
if os.fork() == 0:  # a child of the driver's own, which holds its end of every pipe
    time.sleep(60)
print(process.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("does", ["serve", "mute"])
def test_nobody_outlives_a_driver_that_is_killed(bare: Bare, does: str) -> None:
    bare.does(does)
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, bare.python], stdout=subprocess.PIPE, start_new_session=True
    )
    assert driver.stdout is not None and int(driver.stdout.readline())
    eventually(lambda: len(bare.left()) == 3)
    driver.kill()
    eventually(lambda: not bare.left())
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    driver.stdout.close()


def test_every_start_has_a_log_of_its_own_that_begins_with_the_command(bare: Bare) -> None:
    bare.does("die", "die")
    logs: list[Path] = []
    for _ in range(2):
        process = start(bare)
        eventually(lambda: process.ended() is not None)  # noqa: B023
        assert process.ended() == "exit code 1"
        assert process.tail(2) == "\\x1b[1mloading\\x1b[0m the model\nout of memory", "nothing that drives a terminal"
        assert process.newest_line() == "out of memory"
        logs.append(process.log)
        assert process.end()
    assert [log.name for log in logs] == ["server-1.log", "server-1-2.log"]
    assert all(log.read_text().startswith(f"{bare.python} -m vllm") for log in logs)
    assert re.fullmatch(
        rf"The end of its log \({logs[1]}\):\n.*\nout of memory\nIt was started with: {bare.python} -m vllm.*",
        process.account(),
        re.DOTALL,
    )
    assert not process.port_was_taken()


def test_a_port_that_is_taken_is_seen_from_the_log(bare: Bare) -> None:
    bare.does("taken")
    process = start(bare)
    eventually(process.port_was_taken)
    process.end()


def test_what_cannot_be_started_says_why(bare: Bare) -> None:
    bare.python.write_text("#!/no/such/interpreter\n")
    process = start(bare, wait=False)
    eventually(lambda: process.ended() == "exit code 127")
    assert f"cannot start {bare.python}: " in process.newest_line()
    assert process.pid is None and process.end()


def test_a_folder_that_cannot_be_written_is_a_sentence(bare: Bare) -> None:
    (bare.folder / "servers").write_text("")
    with pytest.raises(EngineError, match=r"cannot start a server: FileExistsError: .*The command was: "):
        start(bare, wait=False)


def test_a_reserved_port_is_given_to_nobody_but_who_asks_for_it() -> None:
    with reserve() as held:
        address = held.getsockname()
        with socket.socket() as other, pytest.raises(OSError):
            other.bind(address)
        with socket.socket() as server, socket.socket() as client:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(address)
            server.listen()
            client.connect(address)
            assert server.accept()[1] == client.getsockname()


def test_who_ends_by_itself_too_slowly_is_hurried(bare: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "GRACE", 600.0)
    process = start(bare)
    os.kill(bare.starts[0]["worker"], signal.SIGSTOP)  # and so is deaf to SIGTERM
    os.kill(bare.starts[0]["pid"], signal.SIGKILL)
    eventually(lambda: not runs(bare.starts[0]["stray"]))  # which SIGTERM reached: it waits for the other
    assert process.end(at_once=True) and bare.left() == []
    assert process._keeper.returncode == 128 + signal.SIGKILL  # pyright: ignore[reportPrivateUsage]


SHARING = """#!PYTHON -IS
import multiprocessing.shared_memory, pathlib, sys, time
block = multiprocessing.shared_memory.SharedMemory(create=True, size=1000)
pathlib.Path(sys.argv[0] + ".block").write_text(block.name)
time.sleep(600)
"""


def test_one_that_is_killed_leaves_nothing_in_shared_memory(bare: Bare) -> None:
    bare.python.write_text(SHARING.replace("PYTHON", os.path.realpath(sys.executable)))
    process = start(bare, wait=False)
    place = bare.folder / "python.block"
    eventually(lambda: place.exists() and place.read_text() != "")
    block = Path("/dev/shm", place.read_text())
    assert block.exists()
    assert process.end(at_once=True)
    assert not block.exists()


def test_the_first_error_of_a_long_log_is_named(tmp_path: Path) -> None:
    """Its end says only that everything was shut down."""
    log = tmp_path / "server-1.log"
    log.write_text(
        "(EngineCore pid=1) INFO fine\n(Worker pid=2) ERROR 11-30 [executor.py:1] RuntimeError: no offset here\n"
        + "(APIServer pid=3) ERROR vllm.v1.engine.exceptions.EngineDeadError: see above\n" * 500
    )
    assert first_error(log) == "RuntimeError: no offset here"
    assert first_error(tmp_path / "none.log") == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "(APIServer pid=32271) INFO 11-30 18:43:47 [model.py:733] Resolved architecture: X",
            "Resolved architecture: X",
        ),
        ("(Worker pid=1413) WARNING 11-30 18:44:19 [cpu.py:1] no (tc)malloc", "no (tc)malloc"),
        ("[W1130 18:44:19.7 utils.cpp:68] Warning: NUMA", "Warning: NUMA"),
        ("(APIServer pid=32271) INFO 11-30 18:43:47 [api_utils.py:347] ", ""),
        (
            "Loading shards:   0% Completed",
            "Loading shards:   0% Completed",
        ),
    ],
)
def test_who_says_a_line_and_when_is_not_shown(line: str, said: str) -> None:
    assert PREFIX.sub("", line).strip() == said
