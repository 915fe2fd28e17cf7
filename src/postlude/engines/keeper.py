"""A small process that keeps another, and sees that nothing of it is left: `keeper.py PARENT GRACE COMMAND...`.

Needs the standard library alone, and is run as a script. It starts the command in a process group of its own, writes
its process id on stdout, and waits until the command ends, until stdin says so, or until PARENT is no longer its
parent (killed, say, while a child of its own still holds the other end of stdin). Then everything that the command has
started goes: first it is asked to, and after GRACE seconds killed; at once where stdin gave a `k`. As a subreaper it is
the parent of whatever the command left behind, so that what has moved to another group is seen too. Should this process
itself be killed, a shell that it has started kills the group. The command works in a temporary folder, which goes with
it: killed servers leave sockets and locks there.

Its exit code is that of the command; 128 and the number of the signal that ended it; 127 where it could not be started.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from types import FrameType

LOOK = 0.5
"""Seconds between two looks at parent and child."""
LAST = 15.0
"""Seconds that killed processes have to go: one may be in the middle of a call to a driver."""
TRACKERS = 3.0
"""Seconds that trackers of shared memory have, after all others."""
_guards: set[int] = set()
"""Process ids."""
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _die_with_keeper() -> None:
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _guard(group: int) -> subprocess.Popen[bytes]:
    """A shell that kills the group as soon as this process is no more: its stdin ends then.

    vLLM's own processes go on for ever without the one that started them, and hold their GPU; some of Ray's stay for
    minutes.
    """
    words = ["/bin/sh", "-c", f"read line; kill -s KILL -- -{group}"]
    guard = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd="/", start_new_session=True)
    _guards.add(guard.pid)
    return guard


def _descendants() -> dict[int, bool]:
    """Process id -> whether it is a zombie, of everything below this process. Empty where there is no /proc."""
    children: dict[int, list[tuple[int, bool]]] = defaultdict(list)
    for name in os.listdir("/proc") if sys.platform == "linux" else ():
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]  # a name may hold blanks and brackets
                children[int(parent)].append((int(name), state == "Z"))
    below: dict[int, bool] = {}
    left = [os.getpid()]
    while left:
        for pid, zombie in children[left.pop()]:
            below[pid] = zombie
            left.append(pid)
    return below


def _alive(server: subprocess.Popen[bytes]) -> bool:
    """Whether the command runs. It is not reaped: until its group is gone nobody else must get its number."""
    return os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _left(trackers: bool) -> list[int]:
    """What runs below this process, but for the guard; with those that remove what others left in shared memory, or
    without."""
    running = [pid for pid, zombie in _descendants().items() if not zombie and pid not in _guards]
    return running if trackers else [pid for pid in running if not _tracks(pid)]


def _tracks(pid: int) -> bool:
    """Whether it is Python's tracker of shared memory: it removes what is left once all that use it are gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"multiprocessing.resource_tracker" in file.read()
    except OSError:
        return False


def _send(server: subprocess.Popen[bytes], number: int, trackers: bool) -> None:
    if sys.platform == "linux":
        for pid in _left(trackers):
            with suppress(OSError):
                os.kill(pid, number)
    else:
        with suppress(OSError):
            os.killpg(server.pid, number)


def _gone(server: subprocess.Popen[bytes], seconds: float, trackers: bool = True) -> bool:
    """Whether nothing of that is left within so many seconds; fewer where stdin gives a `k`."""
    until = time.monotonic() + seconds
    while _alive(server) or _left(trackers):
        asked = _asked(0.05)
        if asked == b"k" or time.monotonic() >= until:
            return False
        if asked == b"":  # and so it says at once from here on
            time.sleep(0.05)
    return True


def _kill(server: subprocess.Popen[bytes]) -> None:
    """Everything, the trackers last: killed with the others, they would leave hundreds of MB in /dev/shm."""
    until = time.monotonic() + LAST
    _send(server, signal.SIGKILL, trackers=False)
    while not _gone(server, 0.5, trackers=False) and time.monotonic() < until:
        _send(server, signal.SIGKILL, trackers=False)  # again, of what was started in between
    if not _gone(server, TRACKERS):
        _send(server, signal.SIGKILL, trackers=True)
        if not _gone(server, 0.5):
            print(f"still there {LAST:g} s after SIGKILL: {_left(trackers=True)}", file=sys.stderr)


def _asked(seconds: float) -> bytes | None:
    """What stdin said: nothing yet (None), that it is closed (empty), or a letter."""
    readable, _, _ = select.select([0], [], [], seconds)
    return os.read(0, 1) if readable else None


def _wait(server: subprocess.Popen[bytes], parent: int) -> bool:
    """Until it must go; whether at once."""
    while _alive(server) and os.getppid() == parent:
        asked = _asked(LOOK)
        if asked is not None:
            return asked == b"k"
    return False


def keep(parent: int, grace: float, command: list[str], folder: str) -> int:
    """Start it and wait for its end; its exit code."""
    environment = {**os.environ, "TMPDIR": folder}
    try:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=2,
            cwd=folder,
            env=environment,
            start_new_session=True,
            preexec_fn=_die_with_keeper,
        )
    except OSError as error:
        print(f"cannot start {command[0]}: {error}", file=sys.stderr)
        return 127
    guard = _guard(server.pid)
    os.write(1, f"{server.pid}\n".encode())
    if not _wait(server, parent):
        _send(server, signal.SIGTERM, trackers=True)
        _gone(server, grace)
    _kill(server)
    guard.kill()  # before the group's number may be somebody else's
    guard.wait()
    code = server.poll()
    with suppress(ChildProcessError):  # of the rest, which came to us: so that nobody waits for zombies
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return 128 if code is None else 128 - code if code < 0 else code


def main(parent: str, grace: str, *command: str) -> int:
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    closed, other = os.pipe()
    os.close(other)

    def end(number: int, frame: FrameType | None) -> None:
        os.dup2(closed, 0)  # as if the other end of stdin were closed

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, end)
    folder = tempfile.mkdtemp(prefix="postlude-kept-")
    try:
        return keep(int(parent), float(grace), [*command], folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
