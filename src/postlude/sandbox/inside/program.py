"""One program in its sandbox: the kinds of jobs a worker can do."""

from __future__ import annotations

import atexit
import builtins
import os
import sys
from types import ModuleType
from typing import Any

from . import testing
from .lines import Lines
from .plain import decode, encode


def run(lines: Lines) -> int:
    """Do the job that the first line describes; returns the exit status of the process."""
    job = lines.read()
    builtins.exit = builtins.quit = sys.exit  # what `site` would have brought, which is not loaded
    return {"calls": _calls, "script": _script, "checks": _checks}[job["kind"]](lines, job)


def _module(name: str) -> dict[str, Any]:
    """The names of a new module, which dataclasses and pickle can find."""
    module = ModuleType(name)
    sys.modules[name] = module
    return vars(module)


def _load(source: str, names: dict[str, Any]) -> None:
    exec(compile(source, "<answer>", "exec"), names)


def _calls(lines: Lines, job: dict[str, Any]) -> int:
    """Load the program, then answer calls until there are none. It is killed after the last."""
    sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
    names = _module("answer")
    try:
        _load(job["source"], names)
    except BaseException as error:
        lines.write("broken", _said(error))
        return 1
    lines.write("loaded")
    while (call := lines.read()) is not None:
        _answer(lines, call, names)
    return 0


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
    status = 0
    try:
        _load(job["source"], _module("__main__"))
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException as error:
        print(_said(error), file=sys.__stderr__)
        status = 1
    if "threading" in sys.modules:  # wait for its threads, as the interpreter does at its end
        sys.modules["threading"]._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    return status & 0xFF


def _checks(lines: Lines, job: dict[str, Any]) -> int:
    """Run test code, each item by itself. The program under test is elsewhere: calls of it leave as records."""

    def call(target: str, *args: Any, **kwargs: Any) -> Any:
        lines.write("call", target, [encode(a) for a in args], {k: encode(v) for k, v in kwargs.items()})
        answer = lines.read()
        if answer is None:
            raise SystemExit(1)
        if answer[0] == "raised":
            raise _exception(answer[1])(answer[2].removeprefix(f"{answer[1]}: "))
        return decode(answer[1])

    def remote(name: str) -> Any:
        return lambda *args, **kwargs: call(name, *args, **kwargs)

    for record in testing.outcomes(job["sources"], job["items"], remote):
        lines.write(*record)
    return 0


def _exception(name: str) -> type[Exception]:
    """The built-in exception of that name, else RuntimeError: also for those that would end a loop of the test code."""
    found = vars(builtins).get(name)
    if not isinstance(found, type) or not issubclass(found, Exception):
        return RuntimeError
    return RuntimeError if issubclass(found, StopIteration | StopAsyncIteration) else found


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
