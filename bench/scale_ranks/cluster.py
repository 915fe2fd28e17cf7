"""A run on Ray's test cluster of three nodes, of which one that has a rank is killed: built again on the other two."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.scale_ranks.runs import HANGS, start, steps_of, undisturbed, weights_of
from bench.scale_servers.processes import Process, below
from postlude.engines.keeping import Kept
from postlude.engines.logs import last_lines
from postlude.engines.ranks.places import environment, search_path
from postlude.scratch import Scratch

AFTER = 4
"""Steps, and then a node dies."""


def run(folder: Path) -> bool:
    """Prints what happened; whether the run went on to the same weights."""
    logs, folder = folder, folder.parent / "runs"
    before = undisturbed(folder)
    with _cluster(logs) as (kept, address, token):
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token))
        options = [f"engine.address={address}"]
        process = start(folder, "node-killed", options)
        place, ends = folder / "node-killed", time.monotonic() + HANGS
        while steps_of(place) < AFTER and process.running.poll() is None and time.monotonic() < ends:
            time.sleep(0.01)
        victim = _node_with_a_rank(kept)
        since = time.monotonic()
        if victim is not None:
            os.kill(victim.pid, signal.SIGKILL)
        step = steps_of(place)
        while steps_of(place) <= step + 1 and process.running.poll() is None and time.monotonic() < ends:
            time.sleep(0.05)
        print(f"a node with a rank killed after step {step}; the next is there {time.monotonic() - since:.0f} s later")
        code = process.running.wait(HANGS)
    equal = weights_of(place) == before
    print(f"it ended with {code}; weights are {'the same bytes' if equal else 'OTHERS'} as undisturbed")
    if code:
        print((folder / "node-killed.log").read_text()[-2000:])
    return victim is not None and code == 0 and equal


@contextmanager
def _cluster(folder: Path) -> Iterator[tuple[Kept, str, Path]]:
    """(what keeps it, its address, the file of its token)."""
    scratch = Scratch("postlude-nodes-")
    token = scratch.place / "token"
    with open(os.open(token, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    inner = environment(os.environ) | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    inner |= {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": search_path(), "OMP_NUM_THREADS": "1"}
    log = folder / "nodes.log"
    words = [sys.executable, str(Path(__file__).with_name("nodes.py"))]
    with log.open("wb") as file:
        kept = Kept(words, inner, file)
    try:
        ends = time.monotonic() + HANGS
        while not (said := [line for line in last_lines(log) if line.startswith("address ")]):
            assert kept.ended() is None and time.monotonic() < ends, last_lines(log)[-10:]
            time.sleep(0.1)
        yield kept, said[-1].split()[1], token
    finally:
        kept.end(at_once=True)
        scratch.drop()


def _node_with_a_rank(kept: Kept) -> Process | None:
    """The raylet of a node, not the first, that has an actor below it."""
    assert kept.pid is not None
    for one in below(kept.pid):
        name = one.words.split(" ", 1)[0]
        if name.endswith("raylet") and " --head" not in one.words:
            if any("ray::Placed" in other.words for other in below(one.pid)):
                return one
    return None
