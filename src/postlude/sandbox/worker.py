"""A worker process as the trainer sees it: started, given programs, and ended."""

from __future__ import annotations

import itertools
import json
import os
import select
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from postlude.sandbox import bubblewrap
from postlude.sandbox.settings import Backend, Limits, folder_of

INSIDE = Path(__file__).parent / "inside"
BOOT = (
    "import sys, types; p = types.ModuleType('inside'); p.__path__ = [sys.argv[1]]; sys.modules['inside'] = p; "
    "from inside.server import main; main()"
)
"""Loads the folder as a package `inside` in an interpreter that knows no other."""
PATIENCE = 30.0
"""Seconds a worker may take to start, and beyond a program's own limit to answer."""


class SandboxFault(Exception):
    """The sandbox itself failed: not the program's doing, so the program has no verdict."""


class Worker:
    """A fork server. One thread at a time may use it. Ends when closed or when this process ends."""

    def __init__(self, backend: Backend, limits: Limits) -> None:
        self.backend, self.limits = backend, limits
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._numbers = itertools.count()
        self.ended: dict[int, dict[str, Any]] = {}
        """Number of a program -> what the worker said at its end."""
        try:
            self._process = self._start(theirs)
        except OSError as error:
            self._line.close()
            raise SandboxFault(str(error)) from error
        finally:
            theirs.close()
        if self._process.stdout:
            self._process.stdout.close()
        self.facts = self._hello()

    def _start(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        limits, backend = self.limits, self.backend
        settings = {
            "namespaces": backend.namespaces,
            "landlock": backend.landlock,
            "locked": backend.locked,
            "contained": backend.bubblewrap,
            "memory": limits.memory,
            "scratch": limits.scratch,
            "packages": {name: str(folder_of(name) or "") for name in limits.packages},
        }
        inner = ["-I", "-S", "-X", "utf8", "-c", BOOT, str(INSIDE), str(theirs.fileno()), json.dumps(settings)]
        before = bubblewrap.command(INSIDE, limits.scratch, limits.packages) if backend.bubblewrap else []
        return subprocess.Popen(
            [*before, os.path.realpath(sys.executable) if before else sys.executable, *inner],
            env={},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,  # a pipe, as programs will have: Python asks once whether it can seek
            stderr=subprocess.PIPE,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )

    def _hello(self) -> dict[str, Any]:
        message = self._receive(PATIENCE)
        if message is None or "fit" not in message:
            said = message["unfit"] if message else self._last_words()
            self.close()
            raise SandboxFault(said)
        return message["fit"]

    def _last_words(self) -> str:
        """The last line a worker printed that died before it said anything."""
        self._process.kill()
        _, text = self._process.communicate()
        lines = text.decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else f"the worker ended with status {self._process.returncode}"

    def _receive(self, seconds: float) -> dict[str, Any] | None:
        """The next message; None where the worker is gone or says nothing."""
        poller = select.poll()
        poller.register(self._line, select.POLLIN)
        try:
            text = self._line.recv(4096) if poller.poll(seconds * 1000) else b""
        except OSError:
            return None
        return json.loads(text) if text else None

    def fileno(self) -> int:
        """Readable when the worker has something to say."""
        return self._line.fileno()

    def launch(self, descriptors: list[int], seconds: float) -> int:
        """Start a program with these as its stdin, stdout, stderr, requests and results; returns its number."""
        number = next(self._numbers)
        self._send({"run": number, "seconds": seconds}, descriptors)
        return number

    def kill(self, number: int) -> None:
        if number not in self.ended:
            self._send({"kill": number})

    def listen(self) -> None:
        """Take one message; the end of a program goes to `ended`. Raises SandboxFault where the worker is gone."""
        message = self._receive(PATIENCE)
        if message is None:
            raise SandboxFault("the worker died")
        if "ended" in message:
            self.ended[message["ended"]] = message

    def settle(self) -> None:
        """Between leases: its programs have ended. Raises SandboxFault where one left a process behind."""
        if self.backend.locked and any(end["swept"] for end in self.ended.values()):
            raise SandboxFault("a program left a process behind")
        self.ended.clear()

    def _send(self, message: dict[str, Any], descriptors: list[int] | None = None) -> None:
        try:
            socket.send_fds(self._line, [json.dumps(message).encode()], descriptors or [])
        except OSError as error:
            raise SandboxFault(f"the worker died: {error}") from error

    def close(self) -> None:
        """End it and all that runs in it."""
        self._line.close()  # it kills its programs when it notices, and then itself
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stderr:
            self._process.stderr.close()
