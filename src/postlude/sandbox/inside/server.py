"""The worker: a clean single-threaded process that forks a sandboxed child for each program.

It never sees a program, an input or an answer: their pipes come as descriptors from the trainer and go to the child.
So no program can find another's traces in its own memory. It kills a child that is late, or when told to, and
itself when the trainer is gone.

Messages (JSON, one per packet): `{"run": id, "seconds": s}` with five descriptors, and `{"kill": id}`; answered by
`{"ended": id, "status": wait status, "late": which limit, "swept": processes it left behind}`.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

from . import kernel, landlock, limits, namespaces, packages, program, seccomp, shelf, streams
from .clock import Running, used

PIPES = 5
"""stdin, stdout, stderr, requests, results: the child's descriptors 0 to 4."""


class Server:
    def __init__(self, line: socket.socket, settings: dict[str, Any]) -> None:
        self._line, self._settings = line, settings
        self._jobs: dict[int, Running] = {}
        self._alone = False
        """Whether every other process it can see is its own to kill."""
        self._own_user = False
        self._rules = -1
        self._filter: seccomp.Filter | None = None

    def prepare(self) -> dict[str, Any]:
        """Load modules and give up rights; returns what was set up. Raises OSError."""
        settings, number = self._settings, os.getpid()
        packages.load(settings["packages"])
        shelf.install()
        streams.prepare()
        _first_to_be_killed()
        if settings["namespaces"]:
            namespaces.enter(settings["scratch"], number)
        self._alone = settings["namespaces"] or settings["contained"]
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        found: dict[str, Any] = {"landlock": 0, "seccomp": False, "user": None}
        if settings["locked"]:
            found["user"] = limits.become_nobody(number)
            self._own_user = found["user"] is not None
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
            kernel.drop_capabilities()
            self._prepare_locks(found)
        gc.collect()
        gc.freeze()
        return found

    def _prepare_locks(self, found: dict[str, Any]) -> None:
        scratch = namespaces.SCRATCH if self._settings["scratch"] else None
        if self._settings["landlock"]:
            found["landlock"] = landlock.abi()
            if not found["landlock"]:
                raise OSError("the kernel has no Landlock")
            self._rules = landlock.ruleset(found["landlock"], scratch)
        if not seccomp.available():
            raise OSError(f"the kernel has no seccomp filters, or the machine is not known ({kernel.MACHINE})")
        self._filter = seccomp.Filter(seccomp.filter_for(kernel.MACHINE, files=scratch is not None))
        found["seccomp"] = True

    def serve(self) -> None:
        """Until the trainer hangs up."""
        while True:
            watched = {job.watch: which for which, job in self._jobs.items()}
            poller = select.poll()
            for descriptor in (self._line.fileno(), *watched):
                poller.register(descriptor, select.POLLIN)
            ready = [descriptor for descriptor, _ in poller.poll(self._patience())]
            for descriptor in ready:
                if descriptor in watched:
                    self._end(watched[descriptor])
            self._kill_late()
            if self._line.fileno() in ready and not self._obey():
                break
        self._kill_all()

    def _patience(self) -> float | None:
        """Milliseconds until a program may be late."""
        waiting = [job.look for job in self._jobs.values() if not job.late]
        return max(0.0, (min(waiting) - time.monotonic()) * 1000 + 1) if waiting else None

    def _obey(self) -> bool:
        """Do what one message says; False where the trainer is gone."""
        text, descriptors, _, _ = socket.recv_fds(self._line, 4096, PIPES)
        if not text:
            return False
        message = json.loads(text)
        if "run" in message:
            self._start(message, descriptors)
        elif "kill" in message and message["kill"] in self._jobs:
            _kill(self._jobs[message["kill"]].pid)
        return True

    def _start(self, message: dict[str, Any], descriptors: list[int]) -> None:
        pid = os.fork()
        if pid == 0:
            try:
                self._child(descriptors, message["seconds"])
            finally:
                os._exit(97)
        for descriptor in descriptors:
            os.close(descriptor)
        self._jobs[message["run"]] = Running.since_now(pid, message["seconds"])

    def _child(self, descriptors: list[int], seconds: float) -> None:
        """The child's first steps; what it runs afterwards is never trusted."""
        os.setsid()
        for target, descriptor in enumerate(descriptors, start=200):
            os.dup2(descriptor, target)
        rules = os.dup2(self._rules, 200 + PIPES) if self._rules >= 0 else -1
        for target in range(PIPES):
            os.dup2(200 + target, target)
        try:
            self._lock(rules, seconds)
            os.write(4, b'["ready"]\n')
        except OSError as error:
            os.write(4, json.dumps(["fault", str(error)]).encode() + b"\n")
            os._exit(98)
        program.main(3, 4)

    def _lock(self, rules: int, seconds: float) -> None:
        gc.enable()
        os.chdir(namespaces.SCRATCH if self._settings["scratch"] else "/")
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        if self._filter is not None:
            kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
        if rules >= 0:
            landlock.restrict(rules)
        os.closerange(PIPES, 4096)
        files = self._settings["scratch"] if self._settings["locked"] else None
        limits.apply(self._settings["memory"], seconds, files, self._own_user)
        if self._filter is not None:
            self._filter.install()

    def _end(self, which: int) -> None:
        job = self._jobs.pop(which)
        status = job.end()
        answer = {"ended": which, "status": status, "late": job.late, "swept": self._sweep()}
        self._line.send(json.dumps(answer).encode())

    def _kill_late(self) -> None:
        now = time.monotonic()
        for job in [job for job in self._jobs.values() if now >= job.look and not job.late]:
            job.check(now, sum(used(other.pid) for other in self._jobs.values()))
            if job.late:
                _kill(job.pid)

    def _kill_all(self) -> None:
        for which in list(self._jobs):
            _kill(self._jobs[which].pid)
            os.waitpid(self._jobs.pop(which).pid, 0)
        self._sweep()

    def _sweep(self) -> int:
        """Kill whatever a program left behind. There is nothing to find unless a lock failed."""
        count = 0
        if self._jobs:
            return 0
        for _ in range(100):
            left = _left_over(self._alone)
            if not left:
                break
            count += left
            time.sleep(0.001)
        return count


def _kill(pid: int) -> None:
    for send in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError):
            send(pid, signal.SIGKILL)


def _left_over(alone: bool) -> int:
    """Kill and reap every process that is not a job; returns how many there were."""
    count = 0
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            count += 1
    except ChildProcessError:
        return count
    if alone:  # it has children, so there is something to kill; process 1 and this one are spared
        os.kill(-1, signal.SIGKILL)
        return count + 1
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            children = [int(word) for word in file.read().split()]
    except OSError:
        return count
    for child in children:
        _kill(child)
    return count + len(children)


def _first_to_be_killed() -> None:
    """Where memory runs out, the kernel shall take a worker and not the trainer."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("800")
    except OSError:
        pass


def main() -> None:
    line = socket.socket(fileno=int(sys.argv[2]))
    server = Server(line, json.loads(sys.argv[3]))
    try:
        found = server.prepare()
    except (OSError, KeyError) as error:
        line.send(json.dumps({"unfit": str(error)}).encode())
        os._exit(1)
    line.send(json.dumps({"fit": found}).encode())
    server.serve()
    os._exit(0)
