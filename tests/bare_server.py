"""A server without a model, as an interpreter that starts it in place of vLLM: `/health`, `/version`, and children.

It is for what happens to processes. What each start does is told beforehand: `serve`; `old` (an old version); `die`
(after some words); `taken` (as where its port is); `mute` (never listens). A start that nothing is told of serves.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tests import underway

SCRIPT = r"""#!PYTHON -IS
import json, os, socket, subprocess, sys, time
if sys.argv[1] == "-c":  # asked for what it has
    sys.exit(print('vllm:[[], {"vllm": "0.32.0"}]'))
folder = os.path.dirname(os.path.abspath(sys.argv[0]))
does = "serve"
for name in sorted(name for name in os.listdir(folder) if name.startswith("does-")):
    try:
        word = open(os.path.join(folder, name)).read()
        os.unlink(os.path.join(folder, name))  # of two that start at once, one has it
        does = word
        break
    except FileNotFoundError:
        pass
port = int(sys.argv[sys.argv.index("--port") + 1])
worker = subprocess.Popen(["sleep", "600"])
stray = subprocess.Popen(["sleep", "600"], start_new_session=True)
facts = {"pid": os.getpid(), "worker": worker.pid, "stray": stray.pid, "argv": sys.argv[1:], "env": dict(os.environ),
         "cwd": os.getcwd(), "model": sys.argv[sys.argv.index("--model") + 1]}
with open(os.path.join(folder, "starts"), "a") as file:
    file.write(json.dumps(facts) + "\n")
print("\x1b[1mloading\x1b[0m the model", flush=True)
if does == "die":
    sys.exit("out of memory")
if does == "taken":
    sys.exit("OSError: [Errno 98] Address already in use")
if does == "mute":
    time.sleep(600)
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", port))
server.listen(50)
while True:
    peer = server.accept()[0]
    peer.settimeout(2)
    try:
        peer.recv(65536)
        status = "200 OK" if worker.poll() is None else "503 Service Unavailable"
        body = json.dumps({"version": "0.31.1" if does == "old" else "0.32.0", "is_sleeping": False})
        peer.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
    except OSError:
        pass
    peer.close()
"""


class Bare:
    """`python` is the interpreter; every start of it is told in `starts`."""

    def __init__(self, folder: Path, *does: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.python = folder, folder / "python"
        self.python.write_text(SCRIPT.replace("PYTHON", os.path.realpath(sys.executable)))
        self.python.chmod(0o755)
        self.does(*does)

    def does(self, *what: str) -> None:
        """What the next starts do, one after another."""
        for place in self.folder.glob("does-*"):
            place.unlink()
        for number, word in enumerate(what):
            (self.folder / f"does-{number}").write_text(word)

    @property
    def starts(self) -> list[dict]:
        path = self.folder / "starts"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def left(self) -> list[int]:
        """Processes of all starts that still run."""
        pids = [start[name] for start in self.starts for name in ("pid", "worker", "stray")]
        return [pid for pid in pids if runs(pid)]

    def end(self) -> None:
        for pid in self.left():
            os.kill(pid, signal.SIGKILL)


def runs(pid: int) -> bool:
    """Whether there is such a process, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def eventually(what: Callable[[], bool]) -> None:
    """Wait until it is so."""
    assert underway.eventually(what), "it never came to that"
