"""The tests of a program as the columns of the data hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from postlude import plain_json
from postlude.code.asserts import cases_in, is_target
from postlude.code.cases import Call, Case, Script, checked
from postlude.errors import shown


def cases_of(value: Any, entry: str | None = None, setup: str = "") -> list[Case]:
    """The tests in a column: a list, a JSON text of one, test code, or `{"inputs": [...], "outputs": [...]}`.

    `entry`: the function that `check(candidate)` tests. `setup`: code of the tests that
    stands before each. Raises ValueError with what is wrong and where.
    """
    if isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, Mapping) and "inputs" in value:
        value = _pairs(value)
    if isinstance(value, Mapping | str):
        value = [value]
    if not isinstance(value, Sequence):
        raise ValueError(f"tests are a list or text, found {type(value).__name__}")
    cases: list[Case] = []
    for number, item in enumerate(value, start=1):
        try:
            cases += _item(item, entry, setup)
        except (ValueError, SyntaxError, RecursionError) as error:
            reason = f"{error.msg} in line {error.lineno}" if isinstance(error, SyntaxError) else error
            raise ValueError(f"test {number}: {reason}: {_short(item)}") from error
    return cases


def _parsed(text: str) -> Any:
    """JSON where it looks like that, else test code as it is."""
    if text.lstrip()[:1] not in ("[", "{"):
        return text
    try:
        return plain_json.loads(text)
    except ValueError as error:
        raise ValueError(f"neither JSON nor test code: {error}: {_short(text)}") from error


def _pairs(value: Mapping[str, Any]) -> list[Any]:
    """The form of APPS and TACO: lists of inputs and outputs, of a function where `fn_name` names one."""
    inputs, outputs, name = value["inputs"], value.get("outputs"), value.get("fn_name")
    if not isinstance(inputs, Sequence) or not isinstance(outputs, Sequence) or len(inputs) != len(outputs):
        raise ValueError("`inputs` and `outputs` must be lists of the same length")
    if name:
        return [{"call": name, "args": i, "expected": o} for i, o in zip(inputs, outputs, strict=True)]
    return [{"stdin": i, "stdout": o} for i, o in zip(inputs, outputs, strict=True)]


def _item(item: Any, entry: str | None, setup: str) -> list[Case]:
    if isinstance(item, str):
        return cases_in(item, entry, setup)
    if not isinstance(item, Mapping):
        raise ValueError("expected an object or an assert")
    keys = set(item)
    if {"call", "expected"} <= keys <= {"call", "args", "kwargs", "expected"}:
        return [_call(item)]
    if keys == {"assert"}:
        return cases_in(item["assert"], entry, setup)
    for names in (("stdin", "stdout"), ("input", "output")):
        if keys == set(names):
            return [_script(*(item[name] for name in names))]
    raise ValueError(
        f"the keys {', '.join(map(shown, [*item][:5]))} are none of call/args/kwargs/expected, stdin/stdout, "
        "input/output and assert"
    )


def _script(stdin: Any, stdout: Any) -> Script:
    if not isinstance(stdin, str) or not isinstance(stdout, str):
        raise ValueError("input and output must be text")
    return Script(stdin, stdout)


def _call(item: Mapping[str, Any]) -> Call:
    target, args, kwargs = item["call"], item.get("args", []), item.get("kwargs") or {}
    if not isinstance(target, str) or not is_target(target):
        raise ValueError("`call` must be a function's name, or a path such as Solution().solve")
    if not isinstance(args, Sequence) or isinstance(args, str) or not isinstance(kwargs, Mapping):
        raise ValueError("`args` must be a list and `kwargs` an object")
    return checked(Call(target, args, item["expected"], kwargs))


def _short(value: Any) -> str:
    """The first 80 characters, with what a terminal would obey escaped."""
    return repr(value if isinstance(value, str) else str(value))[:80]
