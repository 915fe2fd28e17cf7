"""One program in its sandbox: the kinds of jobs a worker can do."""

from __future__ import annotations

import atexit
import builtins
import contextlib
import os
import sys
from types import ModuleType
from typing import Any

from . import testing
from .lines import Lines
from .plain import decode, encode
from .remote import Tester
from .served import Served


def run(lines: Lines) -> int:
    """Do the job that the first line describes; returns the exit status of the process."""
    job = lines.read()
    builtins.exit = builtins.quit = sys.exit  # what `site` would have brought, which is not loaded
    return {"calls": _calls, "served": _served, "script": _script, "checks": _checks}[job["kind"]](lines, job)


def _module(name: str) -> dict[str, Any]:
    """The names of a new module, which dataclasses and pickle can find."""
    module = ModuleType(name)
    sys.modules[name] = module
    return vars(module)


def _load(source: str, names: dict[str, Any]) -> None:
    exec(compile(source, "<answer>", "exec"), names)


def _calls(lines: Lines, job: dict[str, Any]) -> int:
    """Load the program, then answer calls until there are none. It is killed after the last."""
    names = _loaded(lines, job)
    if names is None:
        return 1
    while (call := lines.read()) is not None:
        _answer(lines, call, names)
    return 0


def _served(lines: Lines, job: dict[str, Any]) -> int:
    """Load the program, then do what test code in another process asks for."""
    names = _loaded(lines, job)
    if names is None:
        return 1
    peer = Served(lines, names)
    peer.take_streams()
    while (record := lines.read()) is not None:
        peer.serve(record)
    return 0


def _loaded(lines: Lines, job: dict[str, Any]) -> dict[str, Any] | None:
    """The program's names; None where it cannot be loaded, which is said."""
    sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
    names = _module("answer")
    try:
        _load(job["source"], names)
    except (EOFError, SystemExit):
        pass  # an example of its use that reads, or ends: the program is what was defined before
    except BaseException as error:
        lines.write("broken", _said(error))
        return None
    lines.write("loaded")
    return names


def _answer(lines: Lines, call: dict[str, Any], names: dict[str, Any]) -> None:
    """`call`: {"target": an expression, "args": [...], "kwargs": {...}}, both of encoded values."""
    try:
        function = eval(call["target"], names)
        args = [decode(a) for a in call["args"]]
        value = function(*args, **{k: decode(v) for k, v in call["kwargs"].items()})
        record = ("value", encode(value))
    except BaseException as error:
        record = ("raised", _kind(error), _said(error))
    lines.write(*record)


def _script(lines: Lines, job: dict[str, Any]) -> int:
    """Run the program as a script; what it prints is its answer."""
    status, names = 0, _module("__main__")
    try:
        _load(job["source"], names)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException as error:
        print(_said(error), file=sys.__stderr__)
        status = 1
    if "threading" in sys.modules:  # wait for its threads, as the interpreter does at its end
        sys.modules["threading"]._shutdown()
    atexit._run_exitfuncs()
    for out in (sys.stdout, sys.__stdout__):
        with contextlib.suppress(ValueError):  # it closed that
            out.flush()  # type: ignore[union-attr]
    names.clear()  # files of its own are written when they are given up, as at the end of an interpreter
    return status & 0xFF


def _checks(lines: Lines, job: dict[str, Any]) -> int:
    """Run test code, each item by itself. The program under test is elsewhere: its names are remote."""
    tester = Tester(lines)
    for record in testing.outcomes(job["sources"], job["items"], tester.remote):
        lines.write(*tester.judged(record))
    return 0


def _kind(error: BaseException) -> str:
    return str(type(error).__name__)[:80]


def _said(error: BaseException) -> str:
    """The exception in one line; its text is the program's and may itself fail."""
    try:
        return f"{_kind(error)}: {error}"[:300]
    except BaseException:
        return _kind(error)


def main(requests: int, results: int) -> None:
    """Run the job and end the process; never returns."""
    os._exit(run(Lines(requests, results)))
