"""The Ray cluster of this machine that a run starts for itself. It has a keeper, so nothing of it outlives the run."""

from __future__ import annotations

import json
import os
import secrets
import sys
import tempfile
import time
from pathlib import Path

from postlude.engines.keeping import Kept
from postlude.engines.logs import last_lines, new_log
from postlude.engines.ranks.places import environment, search_path
from postlude.errors import EngineError, reason
from postlude.scratch import Scratch

HEAD = Path(__file__).with_name("head.py")
PREFIX = "postlude-ray-"
LONGEST = 24
"""Characters of the folder for temporary files: Ray makes sockets well below it, whose paths have at most 107."""
STORE = 2**28
"""Bytes of shared memory, at least 75 MiB for Ray: batches pass through it, never weights."""
TRIES = 3
"""Ray gives a machine 30 seconds to start, a constant in its code, which is little where it is busy."""
MOST = 120.0
"""Seconds for one try."""
TAIL = 12
RANKS = ("ray::Placed", "postlude.engines.ranks.child")
"""In the command line of a place, and of a rank."""
_TOKEN = secrets.token_hex(32)
"""Of all clusters that this process starts: Ray reads it once, and again never."""


class LocalCluster:
    """Up once `start` has returned; `end` leaves nothing of it."""

    def __init__(self, size: int, devices: tuple[str, ...], logs: Path | None) -> None:
        self._scratch = Scratch(PREFIX, None if len(tempfile.gettempdir()) <= LONGEST else "/tmp")
        self.folder = self._scratch.place
        """For what the run leaves nowhere else; gone with the cluster."""
        self._token = self.folder / "token"
        with open(os.open(self._token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(_TOKEN)
        self._settings = {"cpus": size, "gpus": len(devices), "memory": STORE, "folder": str(self.folder / "r")}
        # one of Ray's own within ours: it opens that to everybody
        self._devices = devices
        self._logs = logs or self.folder
        self._kept: Kept | None = None
        self._over = False
        self.address = ""

    @property
    def surroundings(self) -> dict[str, str]:
        """Variables under which the driver reaches it."""
        return {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self._token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's name for: listen at 127.0.0.1 alone
        }

    def start(self) -> None:
        """Up to three tries. Raises EngineError where Ray does not come up."""
        log = Path()
        for _ in range(TRIES):
            log = self._start()
            if self._is_up(log):
                return
            self._end()
            if self._over:
                raise EngineError("Ray was stopped while it started", code="no-cluster")
        end = "\n".join(last_lines(log)[-TAIL:])
        raise EngineError(
            f"Ray did not start on this machine in {TRIES} tries. The end of its log ({log}):\n{end}", code="no-cluster"
        )

    def ended(self) -> str | None:
        """How it ended by itself; None while it is there."""
        return self._kept.ended() if self._kept else "not started"

    def ranks_left(self) -> list[str]:
        """Command lines of ranks' processes, and of the workers that Ray keeps their places in, as long as they run."""
        below = self._kept.below() if self._kept else []
        return [words for words in below if any(mark in words for mark in RANKS)]

    def end(self) -> None:
        """Kill all of it; harmless where that was done. A `start` that is under way in another thread raises."""
        self._over = True
        self._end()
        self._scratch.drop()

    def _end(self) -> None:
        if self._kept is not None:
            self._kept.end(at_once=True)

    def _start(self) -> Path:
        inner = environment(os.environ) | self.surroundings
        inner["PYTHONPATH"] = search_path()
        inner["CUDA_VISIBLE_DEVICES"] = ",".join(self._devices)
        inner["RAY_worker_niceness"] = "0"  # training is what this machine is there for, not work on the side
        inner["RAY_memory_monitor_refresh_ms"] = "0"  # whether memory has run out the kernel decides, ranks go first
        log, file = new_log(self._logs, "ray")
        with file:
            try:
                self._kept = Kept([sys.executable, "-P", str(HEAD), json.dumps(self._settings)], inner, file)
            except OSError as error:
                raise EngineError(f"cannot start Ray: {reason(error)}", code="no-cluster") from error
        if self._over:  # said by another thread just before there was something to end
            self._end()
        return log

    def _is_up(self, log: Path) -> bool:
        """Whether it says its address in time, which is remembered."""
        until = time.monotonic() + MOST
        while self.ended() is None and time.monotonic() < until:
            said = [line for line in last_lines(log) if line.startswith("address ")]
            if said:
                self.address = said[-1].split()[1]
                return True
            time.sleep(0.05)
        return False
