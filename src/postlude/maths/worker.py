"""The process that does the algebra: one JSON job per line in, one JSON reply per line out.

It ends by itself: at the end of its input, when its parent is gone, and, by the kernel, when a job uses more processor
time than it may (SIGPROF, which no library code can hold up).
"""

from __future__ import annotations

import json
import os
import re
import resource
import select
import signal
import sys
import traceback
from fractions import Fraction
from typing import Any


def main() -> None:
    """`argv`: bytes of memory, seconds of processor time a job may take, id of the parent process."""
    memory, seconds, parent = int(sys.argv[-3]), float(sys.argv[-2]), int(sys.argv[-1])
    replies = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints is no reply
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    from postlude.maths import symbolic  # the slow import, before the first job

    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _send(replies, {"ready": symbolic.__name__})
    for job in _jobs(parent):
        signal.setitimer(signal.ITIMER_PROF, seconds)
        reply = _answer(job)
        signal.setitimer(signal.ITIMER_PROF, 0)
        _send(replies, reply)


def _send(replies: int, reply: dict[str, Any]) -> None:
    os.write(replies, json.dumps(reply).encode() + b"\n")


def _jobs(parent: int) -> Any:
    """Jobs until the input ends or the parent has died."""
    buffer = b""
    while True:
        while b"\n" not in buffer:
            if not select.select([0], [], [], 2.0)[0]:
                if os.getppid() != parent:
                    return
                continue
            data = os.read(0, 1 << 16)
            if not data:
                return
            buffer += data
        line, _, buffer = buffer.partition(b"\n")
        yield json.loads(line)


def _answer(job: dict[str, Any]) -> dict[str, Any]:
    """{"equal": bool or null (not read)}, {"limit": reason} where the job is too large, else {"failed": traceback}:
    arithmetic fails at what the job asks."""
    try:
        return {"equal": _pairs(job) if "pairs" in job else _latex(*job["latex"])}
    except (MemoryError, RecursionError) as error:
        return {"limit": type(error).__name__}
    except Exception:
        return {"failed": traceback.format_exc(limit=-6)}


def _pairs(job: dict[str, Any]) -> bool:
    from postlude.maths.symbolic import equal

    return all(equal(a, b, Fraction(job["tolerance"])) for a, b in job["pairs"])


def _latex(gold: str, answer: str) -> bool | None:
    """By math-verify, for notations that are not ours; without its rounding, and the same both ways round.

    None where it reads no value from one of them, or one that has lost letters of the text.
    """
    import math_verify  # pyright: ignore[reportMissingImports]  # optional

    config = [math_verify.LatexExtractionConfig()]
    a, b = (math_verify.parse(f"${t}$", config, parsing_timeout=0, raise_on_error=False) for t in (gold, answer))
    if len(a) < 2 or len(b) < 2 or _lost(gold, a[0]) or _lost(answer, b[0]):
        return None
    options: dict[str, Any] = {"float_rounding": 30, "numeric_precision": 30, "timeout_seconds": None}
    return bool(math_verify.verify(a, b, **options) and math_verify.verify(b, a, **options))


def _lost(text: str, value: Any) -> set[str]:
    """The letters of a text that are not in its value."""
    letters = set(re.findall(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", " ", text))) - {"e", "i"}
    return letters - {str(symbol) for symbol in value.free_symbols}


if __name__ == "__main__":
    main()
