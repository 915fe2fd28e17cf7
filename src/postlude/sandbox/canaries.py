"""Hostile programs of our own, run through a backend before anything else is: none of them may get out.

Each is judged by what happened outside as well as by what it says: a file that is there, a victim that is dead.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from postlude.sandbox.child import Child, pump
from postlude.sandbox.settings import Backend, Limits
from postlude.sandbox.worker import SandboxFault, Worker

MEMORY = 256
"""MiB a canary may use."""


@dataclass
class Outside:
    """Things of our own that a canary would harm."""

    folder: Path
    secret: str
    listener: socket.socket
    victim: subprocess.Popen[bytes]

    @property
    def port(self) -> int:
        return self.listener.getsockname()[1]

    def visited(self) -> bool:
        """Whether anything connected."""
        try:
            self.listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True


@dataclass(frozen=True)
class Canary:
    """`source` defines probe(folder, port, pid); `escaped` judges what it returned (None: it did not answer)."""

    name: str
    source: str
    escaped: Callable[[Outside, Any], bool]


CANARIES = (
    Canary("control", "def probe(f, p, v): return sum(range(10)) + 7", lambda o, r: r != 52),
    Canary("read", "def probe(f, p, v): return open(f + '/secret').read()", lambda o, r: r == o.secret),
    Canary("write", "def probe(f, p, v): open(f + '/mark', 'w').close()", lambda o, r: (o.folder / "mark").exists()),
    Canary(
        "network",
        "import socket\ndef probe(f, p, v):\n    socket.create_connection(('127.0.0.1', p), 0.5)\n    return 'out'",
        lambda o, r: o.visited() or r == "out",
    ),
    Canary(
        "fork",
        "import os, time\ndef probe(f, p, v):\n    if os.fork() == 0: time.sleep(9)\n    return 'out'",
        lambda o, r: r == "out",
    ),
    Canary(
        "memory", f"def probe(f, p, v): return len(bytearray({2 * MEMORY} << 20))", lambda o, r: r == 2 * MEMORY << 20
    ),
    Canary(
        "proc",
        "def probe(f, p, v): return open(f'/proc/{v}/environ', 'rb').read()",
        lambda o, r: isinstance(r, dict) and o.secret.encode().hex() in str(r),
    ),
    Canary(
        "kill",
        "import os\ndef probe(f, p, v):\n    os.kill(v, 9)\n    return 1",
        lambda o, r: r == 1 or o.victim.poll() is not None,  # the call went through, though nobody may be dead yet
    ),
    Canary("loop", "def probe(f, p, v):\n    while True: pass", lambda o, r: r is not None),
)


def escapes(backend: Backend, limits: Limits) -> tuple[list[str], dict[str, Any]]:
    """(names of the canaries that got out, what the worker said it set up). Raises SandboxFault."""
    limits = replace(limits, seconds=0.5, memory=MEMORY)
    with outside() as world:
        worker = Worker(backend, limits)
        try:
            got_out = [canary.name for canary in CANARIES if canary.escaped(world, _fly(worker, canary, world))]
            worker.settle()
            return got_out, worker.facts
        finally:
            worker.close()


def _fly(worker: Worker, canary: Canary, world: Outside) -> Any:
    """What the canary returned, in its encoded form; None where it raised, died or was killed."""
    child = Child(worker, {"kind": "calls", "source": canary.source})
    try:
        child.send({"target": "probe", "args": [str(world.folder), world.port, world.victim.pid], "kwargs": {}})
        child.hang_up()
        pump(worker, [child], lambda: child.done)
        child.check_start()
        records = [child.take() for _ in range(child.waiting)]
        return next((r[1] for r in records if r and r[0] == "value"), None)
    finally:
        child.close()


@contextlib.contextmanager
def outside() -> Iterator[Outside]:
    """A folder with a secret, a listener and a process, all readable and killable by anyone of our own."""
    folder = Path(tempfile.mkdtemp(prefix="postlude-canary-"))
    secret = secrets.token_hex(8)
    victim = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "import time; time.sleep(120)"], env={"SECRET": secret}, close_fds=True
    )
    try:
        (folder / "secret").write_text(secret)
        os.chmod(folder, 0o777)
        os.chmod(folder / "secret", 0o666)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            listener.setblocking(False)
            yield Outside(folder, secret, listener, victim)
    finally:
        victim.kill()
        victim.wait()
        shutil.rmtree(folder)


__all__ = ["CANARIES", "SandboxFault", "escapes", "outside"]
