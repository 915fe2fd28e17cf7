"""The processes that do algebra: limits, death, and the same result from threads, event loops and processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from postlude.maths import symbolic, worker, workers
from postlude.maths.verify import Verifier
from postlude.maths.workers import Limits, Pool, WorkerError
from postlude.rewards.maths import maths
from tests.underway import HANGS, eventually

SOURCE = str(Path(workers.__file__).parents[3])
ONE = ["num", "1"]
X = ["sym", "x"]
IDENTITY = ["+", ["^", ["call", "sin", X], ["num", "2"]], ["^", ["call", "cos", X], ["num", "2"]]]
JOB = {"pairs": [[IDENTITY, ONE]], "tolerance": "0"}
WRONG = {"pairs": [[IDENTITY, ["num", "2"]]], "tolerance": "0"}
SLOW = {"pairs": [[["^", ["+", X, ["sym", "y"], ["sym", "z"], ONE], ["num", "1000"]], ["^", X, ["num", "3"]]],
                  [["^", ["+", X, ["sym", "y"], ["sym", "z"], ONE], ["num", "1000"]], ["^", X, ["num", "3"]]]],
        "tolerance": "0"}  # fmt: skip
PAIRS = [
    ("1", r"\boxed{\sin^2 x+\cos^2 x}"),
    (r"\cos 2x", r"\boxed{2\cos^2 x-1}"),
    (r"\cos 2x", r"\boxed{2\cos^2 x}"),
    (r"\sqrt{3+2\sqrt2}", r"\boxed{1+\sqrt2}"),
    ("7", r"\boxed{8}"),
]
VERDICTS = ["equal", "equal", "different", "equal", "different"]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def gone(pids: list[int]) -> bool:
    return eventually(lambda: not any(map(alive, pids)))


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    """Of one worker, whose jobs end by processor time alone, however little of it the machine gives them."""
    monkeypatch.setattr(Limits, "wall", HANGS)
    made = Pool(Limits(seconds=1.0, size=1))
    yield made
    made.close()


def pids(pool: Pool) -> list[int]:
    return [w.process.pid for w in pool._all]


def test_a_worker_proves_an_identity_and_refutes_a_wrong_one(pool: Pool) -> None:
    assert pool.ask(JOB) == {"equal": True}
    assert pool.ask(WRONG) == {"equal": False}
    assert len(pids(pool)) == 1


def endless(pool: Pool) -> dict[str, object]:
    """A job that takes for ever: the prefilter, which would refuse it, is not asked."""
    tower = ["^", ["num", "3"], ["^", ["num", "7"], ["num", "12"]]]
    return pool.ask({"pairs": [[["call", "floor", tower], ONE]], "tolerance": "0"})


def test_a_job_that_never_ends_is_killed_in_time_and_the_next_one_is_answered(pool: Pool) -> None:
    pool.ask(JOB)
    before = pids(pool)
    assert "limit" in endless(pool)
    assert pool.ask(JOB) == {"equal": True}
    assert pids(pool) != before and gone(before)


def test_memory_is_limited_by_the_kernel() -> None:
    small = Pool(Limits(memory=700 << 20, size=1))
    try:
        assert small.ask(JOB) == {"equal": True}
        limits = Path(f"/proc/{pids(small)[0]}/limits").read_text()
    finally:
        small.close()
    assert str(700 << 20) in next(line for line in limits.splitlines() if line.startswith("Max address space"))


def test_too_little_memory_is_a_limit_of_the_job_and_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(*_: object) -> bool:
        raise MemoryError

    monkeypatch.setattr(symbolic, "equal", greedy)
    assert worker._answer(JOB) == {"limit": "MemoryError"}


def test_a_worker_that_was_killed_is_replaced_and_the_job_done(pool: Pool) -> None:
    pool.ask(JOB)
    for pid in pids(pool):
        os.kill(pid, signal.SIGKILL)
    assert pool.ask(JOB) == {"equal": True}


def test_a_worker_that_gets_no_processor_time_is_an_error_and_not_a_wrong_answer(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.ask(JOB)
    monkeypatch.setattr(Limits, "wall", 0.3)
    (pid,) = pids(pool)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(WorkerError, match="overloaded"):
        pool.ask(JOB)
    assert gone([pid])


def test_a_job_at_which_arithmetic_fails_says_so_with_its_traceback(pool: Pool) -> None:
    reply = pool.ask({"pairs": [[["no such tag", ONE], ONE]], "tolerance": "0"})
    assert "KeyError" in str(reply["failed"])
    assert pool.ask(JOB) == {"equal": True}


def test_closing_leaves_no_process(pool: Pool) -> None:
    pool.ask(JOB)
    before = pids(pool)
    pool.close()
    assert gone(before)


def verdicts() -> list[str]:
    return [r.verdict for r in Verifier().verify_all(PAIRS)]


def test_threads_give_the_same_verdicts() -> None:
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(lambda _: verdicts(), range(12))) == [VERDICTS] * 12


def test_an_event_loop_gives_the_same_verdicts() -> None:
    async def all_at_once() -> list[list[str]]:
        return await asyncio.gather(*(asyncio.to_thread(verdicts) for _ in range(4)))

    assert asyncio.run(all_at_once()) == [VERDICTS] * 4

    async def inside() -> list[str]:
        return verdicts()

    assert asyncio.run(inside()) == VERDICTS


def send(queue: multiprocessing.Queue[list[str]]) -> None:
    queue.put(verdicts())
    workers.close_all()  # a forked child ends without its exit handlers


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_child_processes_give_the_same_verdicts(method: str) -> None:
    assert verdicts() == VERDICTS  # so that a forked child inherits running workers
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    children = [context.Process(target=send, args=(queue,)) for _ in range(2)]
    for child in children:
        child.start()
    assert [queue.get(timeout=HANGS) for _ in children] == [VERDICTS] * 2
    for child in children:
        child.join()
    assert verdicts() == VERDICTS  # the parent's workers are still its own


def test_a_fork_in_the_midst_of_a_job_leaves_the_child_usable(pool: Pool) -> None:
    pool.ask(JOB)
    busy = threading.Thread(target=lambda: endless(pool))
    busy.start()
    assert eventually(lambda: not pool._idle), "the worker has the job"
    child = os.fork()
    if child == 0:
        status = 1
        try:
            workers._after_fork()  # this pool is not in the registry
            pool.forget()
            status = 0 if pool.ask(JOB) == {"equal": True} else 1
            pool.close()
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    busy.join()
    assert pool.ask(JOB) == {"equal": True}


SCRIPT = """
import sys, time
from postlude.maths.verify import Verifier
from postlude.maths import workers
Verifier().verify("1", r"\\\\boxed{{\\\\sin^2 x+\\\\cos^2 x}}")
print(*[w.process.pid for p in workers._pools.values() for w in p._all], flush=True)
{then}
"""


@pytest.mark.parametrize("end", ["exit", "kill"])
def test_workers_die_with_their_parent(end: str) -> None:
    then = "time.sleep(600)" if end == "kill" else ""
    parent = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(then=then)], stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": SOURCE}
    )
    assert parent.stdout
    found = [int(p) for p in parent.stdout.readline().split()]
    assert found
    if end == "kill":
        parent.kill()
    parent.wait()
    assert gone(found)


def test_the_time_limit_is_the_verdict_timeout_and_counts_as_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    figures: dict[str, float] = {}
    monkeypatch.setattr(Pool, "ask", lambda self, job: {"limit": "2 s of processor time"})
    values = maths()([PAIRS[0][1], r"\boxed{1}"], ["1", "1"], log_metric=figures.__setitem__)
    assert values == [0.0, 1.0]
    assert figures["timeout"] == 0.5
