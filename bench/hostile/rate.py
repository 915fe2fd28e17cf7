"""How many programs a second a worker runs."""

from __future__ import annotations

import resource
import time

from postlude.code.cases import Call
from postlude.code.compare import Comparison
from postlude.code.grade import Grading
from postlude.sandbox.pool import Pool
from postlude.sandbox.settings import Backend, Limits

RUNS, WARM = 300, 20
SOURCE = "def solve(n):\n    return n * n + 7\n"
CASES = [Call("solve", [n], n * n + 7) for n in (2, 3, 10)]


def rate(backend: Backend) -> None:
    """Print runs a second of one small program with three tests, by the clock and by the processor time used.

    The processor time is that of the worker, its programs and this process together: what one core does undisturbed.
    """
    pool = Pool(backend, Limits(), 1)
    _run(pool, WARM)
    clock, own = time.perf_counter(), _used(resource.RUSAGE_SELF)
    _run(pool, RUNS)
    clock, own = time.perf_counter() - clock, _used(resource.RUSAGE_SELF) - own
    before = _used(resource.RUSAGE_CHILDREN)
    pool.close()
    worker = _used(resource.RUSAGE_CHILDREN) - before - _start_of_a_worker(backend)
    each = own / RUNS + worker / (RUNS + WARM)
    used = "" if backend.bubblewrap else f", {1 / each:.0f} per second of processor time"  # it hides its worker's
    print(f"{RUNS / clock:.0f} runs a second on one worker{used}")


def _run(pool: Pool, times: int) -> None:
    for _ in range(times):
        results = Grading(pool, SOURCE, Comparison()).run(CASES)
        assert all(r.word == "passed" for r in results), results


def _start_of_a_worker(backend: Backend) -> float:
    """Seconds of processor time to start and end one."""
    before = _used(resource.RUSAGE_CHILDREN)
    pool = Pool(backend, Limits(), 1)
    with pool.lease():
        pass
    pool.close()
    return _used(resource.RUSAGE_CHILDREN) - before


def _used(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime
