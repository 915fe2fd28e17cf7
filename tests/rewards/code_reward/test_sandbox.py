"""The sandbox itself: every backend holds, nothing is left behind, a fault is no verdict, refusals are clear."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from postlude.code.cases import Call
from postlude.code.compare import Comparison
from postlude.code.grade import Grading
from postlude.sandbox import backends
from postlude.sandbox.backends import SandboxUnavailable, choose
from postlude.sandbox.canaries import CANARIES, escapes
from postlude.sandbox.child import Child
from postlude.sandbox.inside import kernel, seccomp, syscalls
from postlude.sandbox.pool import Pool
from postlude.sandbox.settings import LADDER, UNSAFE, Backend, Limits
from postlude.sandbox.worker import SandboxFault, Worker
from tests.underway import HANGS, eventually

linux = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")
FIXTURES = Path(__file__).parents[2] / "fixtures"


def descendants(of: int) -> set[int]:
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents[int(entry)] = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
    found, new = set[int](), {of}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new}
        found |= new
    return found


def gone(pids: set[int]) -> bool:
    return eventually(lambda: not any(Path(f"/proc/{pid}").exists() and "Z" not in _state(pid) for pid in pids))


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


# ---------------------------------------------------------------------------------------------------------- backends


@linux
@pytest.mark.parametrize("backend", LADDER, ids=lambda b: b.name)
def test_no_canary_gets_out_of_a_backend(backend: Backend) -> None:
    try:
        got_out, _ = escapes(backend, Limits())
    except SandboxFault as reason:
        pytest.skip(f"{backend.name}: {reason}")
    assert got_out == []


@linux
def test_the_canaries_notice_where_there_is_no_sandbox() -> None:
    got_out, _ = escapes(UNSAFE, Limits())
    assert {"read", "write", "network", "fork", "proc", "kill"} <= set(got_out)
    assert not {"control", "loop"} & set(got_out)
    assert len(CANARIES) == 9


@linux
def test_a_refusal_says_what_was_tried_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SandboxUnavailable) as caught:
        choose("bubblewrap", Limits(seconds=1.25))
    text = str(caught.value)
    assert "bubblewrap + seccomp: it is not installed" in text
    assert "Install bubblewrap" in text and "unsafe-none" in text


def test_other_systems_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.sys, "platform", "darwin")
    with pytest.raises(SandboxUnavailable, match=r"darwin.*needs Linux"):
        choose("auto", Limits(seconds=1.5))


@linux
def test_files_are_refused_where_their_size_cannot_be_bounded() -> None:
    with pytest.raises(SandboxUnavailable, match="`files` needs namespaces"):
        choose("landlock", Limits(scratch=8))


# ----------------------------------------------------------------------------------------------------- files, scratch


@pytest.fixture
def files(backend: Backend) -> Iterator[Pool]:
    try:
        chosen = choose("auto", Limits(scratch=8))
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    pool = Pool(chosen.backend, Limits(seconds=5, scratch=8), 1)
    yield pool
    pool.close()


def one(pool: Pool, source: str) -> str:
    [result] = Grading(pool, source, Comparison()).run([Call("f", [], "yes")])
    return result.word if result.word == "passed" else f"{result.word}: {result.detail}"


def test_the_profile_files_has_a_folder_of_its_own_that_is_new_each_time(files: Pool) -> None:
    source = (
        "import os, tempfile\ndef f():\n    if os.listdir('.'): return 'not empty'\n    os.mkdir('d')\n"
        "    open('d/x', 'w').write('yes')\n    os.rename('d/x', 'y')\n    return open('y').read()"
    )
    assert one(files, source) == "passed"
    assert one(files, source) == "passed"
    assert "No space left" in one(files, "def f():\n    for i in range(9): open(str(i), 'wb').write(bytes(1 << 20))")
    for path in ("/etc/passwd", "/proc/self/environ", sys.executable, "/"):
        assert "Error" in one(files, f"def f(): return open({path!r}, 'rb').read(1) and 'yes'")
    assert "Error" in one(files, "import os\ndef f():\n    os.symlink('/etc', 'e')\n    return 'yes'")


# ----------------------------------------------------------------------------------------------------- nothing is left


def test_closing_ends_every_process(backend: Backend) -> None:
    before = descendants(os.getpid())
    pool = Pool(backend, Limits(seconds=1), 1)
    assert one(pool, "def f(): return 'yes'") == "passed"
    started = descendants(os.getpid()) - before
    assert started
    pool.close()
    assert gone(started)


def test_a_program_that_is_given_up_is_killed(backend: Backend) -> None:
    before = descendants(os.getpid())
    worker = Worker(backend, Limits(seconds=HANGS))
    without = descendants(os.getpid())
    child = Child(worker, {"kind": "calls", "source": "while True: pass"})
    assert eventually(lambda: descendants(os.getpid()) - without), "the program runs"
    running = descendants(os.getpid()) - before
    child.close()
    assert child.end and os.WIFSIGNALED(child.end["status"]) and not child.end["late"], "killed before its time was up"
    worker.close()
    assert len(running) >= 2 and gone(running)


def test_workers_and_programs_die_with_the_trainer(backend: Backend) -> None:
    script = (
        "import sys, threading, time\nfrom postlude.sandbox.child import Child, pump\n"
        "from postlude.sandbox.settings import *\nfrom postlude.sandbox.worker import Worker\n"
        f"w = Worker({backend!r}, Limits(seconds=60))\n"
        "print('ready', flush=True)\nsys.stdin.readline()\n"
        "c = Child(w, {'kind': 'calls', 'source': 'while True: pass'})\n"
        "threading.Thread(target=pump, args=(w, [c], lambda: c.done), daemon=True).start()\n"
        "time.sleep(600)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe, env=environment) as trainer:
        assert trainer.stdin and trainer.stdout and trainer.stdout.readline() == b"ready\n"
        workers = descendants(trainer.pid)
        trainer.stdin.write(b"go on\n")
        trainer.stdin.flush()
        assert workers and eventually(lambda: descendants(trainer.pid) - workers), "the program runs"
        started = descendants(trainer.pid)
        trainer.kill()
    assert gone(started)


def test_canaries_leave_no_folder(backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A folder of its own: in the machine's, another test process may have canaries of its own at this moment.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    escapes(backend, Limits())
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_dies_is_a_fault_and_not_a_verdict(backend: Backend) -> None:
    before = descendants(os.getpid())
    pool = Pool(backend, Limits(seconds=HANGS), 1)
    with pool.lease():
        workers = descendants(os.getpid()) - before

    def kill() -> None:
        eventually(lambda: descendants(os.getpid()) - before - workers)  # the program runs
        for pid in workers:
            with suppress(ProcessLookupError):  # it went with another
                os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(SandboxFault):
        one(pool, "import time\ndef f():\n    time.sleep(600)")
    killer.join()
    assert one(pool, "def f(): return 'yes'") == "passed"  # by a new worker
    pool.close()


# ---------------------------------------------------------------------------------------------------------- seccomp


def run_filter(program: list[seccomp.Instruction], arch: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """What a filter returns: a small machine for the instructions it uses."""
    words = [number, arch, 0, 0]
    for value in (*arguments, *[0] * (6 - len(arguments))):
        words += [value & 0xFFFFFFFF, value >> 32]
    at, accumulator = 0, 0
    while True:
        code, yes, no, constant = program[at]
        at += 1
        if code == seccomp.LOAD:
            accumulator = words[constant // 4]
        elif code == seccomp.AND:
            accumulator &= constant
        elif code == seccomp.EQUAL:
            at += yes if accumulator == constant else no
        elif code == seccomp.AT_LEAST:
            at += yes if accumulator >= constant else no
        else:
            return constant


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("files", [False, True])
def test_the_filter_allows_exactly_the_list(machine: str, files: bool) -> None:
    program, arch = seccomp.filter_for(machine, files), seccomp.AUDIT_ARCH[machine]
    column = ("x86_64", "aarch64").index(machine)
    plain = {n[column] for n in (*syscalls.PLAIN.values(), *(syscalls.FILES.values() if files else ()))} - {None}
    unusual = {n[column] for n in (*syscalls.NO_SUCH_CALL.values(), *syscalls.PRETENDED.values())}
    guarded = {n[column] for n in syscalls.GUARDED.values()}
    allow, deny = seccomp.ALLOW[3], seccomp.DENY[3]
    for number in (*range(1000), 0x40000000, 0x40000001, 0xFFFFFFFF):
        if number not in unusual | guarded:
            assert run_filter(program, arch, number) == (allow if number in plain else deny), number
        assert run_filter(program, arch ^ 1, number) == deny
    assert max(max(step[1], step[2]) for step in program) < 256 and len(program) < 4096


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize(
    ("name", "allowed", "denied"),
    [
        ("clone", [(0x3D0F00,), (0x7D0F00,)], [(0x11,), (0,), (0x3D0F00 | 0x10000000,), (0x4111,)]),
        ("fcntl", [(9, 3), (9, 1030)], [(9, 8), (9, 10), (9, 1033)]),
        ("ioctl", [(0, 0x5401)], [(0, 0x5412), (0, 0)]),
        ("futex", [(0, 0x80), (0, 0x189)], [(0, 6), (0, 0x8B)]),
        ("prlimit64", [(0, 7, 0)], [(0, 7, 1), (0, 7, 1 << 40), (1, 7, 0)]),
        ("socketpair", [(1, 1, 0), (1, 0x80801, 0)], [(1, 2, 0), (2, 1, 0), (16, 3, 0), (1, 1, 6)]),
        ("sendto", [(3, 5, 5, 0, 0)], [(3, 5, 5, 0, 1), (3, 5, 5, 0, 1 << 32)]),
    ],
)
def test_guarded_calls(machine: str, name: str, allowed: list[tuple[int, ...]], denied: list[tuple[int, ...]]) -> None:
    program, arch = seccomp.filter_for(machine), seccomp.AUDIT_ARCH[machine]
    number = syscalls.GUARDED[name][("x86_64", "aarch64").index(machine)]
    assert {run_filter(program, arch, number, a) for a in allowed} == {seccomp.ALLOW[3]}
    assert {run_filter(program, arch, number, a) for a in denied} == {seccomp.DENY[3]}


HEADERS = {0: "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", 1: "/usr/include/asm-generic/unistd.h"}


@pytest.mark.parametrize("column", HEADERS)
def test_numbers_are_those_of_the_kernels_headers(column: int) -> None:
    header = Path(HEADERS[column])
    if not header.exists():
        pytest.skip(f"{header} is not here")
    known = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text()))
    known = {"lseek": known.get("lseek"), "fcntl": known.get("fcntl"), **known}
    tables = (syscalls.PLAIN, syscalls.GUARDED, syscalls.FILES, syscalls.NO_SUCH_CALL, syscalls.PRETENDED)
    for name, numbers in ((name, numbers) for table in tables for name, numbers in table.items()):
        number = numbers[column]
        if number is not None and (name in known or (column == 1 and name == "newfstatat")):
            assert number == int(known.get(name) or known["fstatat"]), name
    assert len(known) > 250
    assert kernel.NUMBERS["x86_64"].keys() == kernel.NUMBERS["aarch64"].keys()


# ---------------------------------------------------------------------------------------------------------- attacks


def test_hostile_programs_do_no_harm_and_get_the_right_reward(backend: Backend) -> None:
    for folder in ("hostile", "hostile-more"):
        run = subprocess.run(
            [sys.executable, "-m", "bench.hostile", str(FIXTURES / folder), "--seconds", "0.4", "--no-rate"],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            cwd=FIXTURES.parents[1],
        )
        assert run.returncode == 0, run.stdout + run.stderr
        assert "0 did harm, 0 got a wrong reward" in run.stdout
