"""One test as an object of JSON, in the shapes of the data sets that have such."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from postlude import plain_json
from postlude.code.asserts import is_target
from postlude.code.cases import AnyOf, Call, Case, Script, checked
from postlude.errors import shown
from postlude.words import closest

SCRIPTS = ("stdin", "stdin_stdout", "stdio", "standard_input", "script")
CALLS = ("functional", "function_call", "function", "call_based")
"""What the key `testtype` or `type` says of a test: LiveCodeBench's words, DeepCoder's, APPS's."""
BESIDE = frozenset(("testtype", "type", "fn_name", "func_name", "metadata", "language", "explanation", "id"))
"""Keys that may stand beside `input` and `output`."""


SHAPES = (
    (("call", "expected"), ("args", "kwargs")),
    (("stdin", "stdout"), ()),
    (("input", "output"), tuple(sorted(BESIDE))),
)
"""(keys that a test of this shape must have, keys that it may have)."""
_ALL_SHAPES = "call/args/kwargs/expected, stdin/stdout, input/output and assert"


def case_of(item: Mapping[str, Any], entry: str | None) -> Case:
    """A test of the keys call/args/kwargs/expected, stdin/stdout or input/output. Raises ValueError."""
    keys = set(item)
    if {"call", "expected"} <= keys <= {"call", "args", "kwargs", "expected"}:
        return _call(item)
    if keys == {"stdin", "stdout"}:
        return _script(item["stdin"], item["stdout"])
    if {"input", "output"} <= keys <= {"input", "output", *BESIDE}:
        return _typed(item, entry)
    raise ValueError(_misshapen(item))


def _misshapen(item: Mapping[str, Any]) -> str:
    """What its keys lack, or have too much, of the shape that they come nearest to."""
    if not item:
        return f"the object is empty; it needs {_ALL_SHAPES}"
    whole, may = max(SHAPES, key=lambda shape: len({*shape[0], *shape[1]} & {*item}))
    known = (*whole, *may)
    unknown = [key for key in item if key not in known]
    lacking = [key for key in whole if key not in item]
    hints = [f"unknown key {shown(key)}" + _near(str(key), [k for k in known if k not in item]) for key in unknown[:3]]
    if len(unknown) == len(item) and not any(") " in hint or hint.endswith(")") for hint in hints):
        return f"the keys {', '.join(map(shown, [*item][:5]))} are none of {_ALL_SHAPES}"
    return "; ".join([*hints, *(f"{key!r} is missing" for key in lacking)])


def _near(word: str, names: Sequence[str]) -> str:
    close = closest(word, names)
    return f" (did you mean {close!r}?)" if close else ""


def pairs_of(value: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Tests of lists of inputs and outputs, as in APPS, TACO and CodeContests; None where it has no such lists."""
    names = next((n for n in (("inputs", "outputs"), ("input", "output")) if isinstance(value.get(n[0]), list)), None)
    if names is None or (names[0] == "input" and set(value) != {"input", "output"}):
        if "inputs" not in value:
            return None
        raise ValueError("`inputs` and `outputs` must be lists of the same length")
    inputs, outputs, name = value[names[0]], value.get(names[1]), value.get("fn_name")
    if not isinstance(outputs, Sequence) or isinstance(outputs, str) or len(inputs) != len(outputs):
        raise ValueError(
            f"`{names[0]}` and `{names[1]}` must be lists of the same length, found {len(inputs)} and "
            f"{len(outputs) if isinstance(outputs, list) else shown(outputs)}"
        )
    if not name:
        return [{"input": i, "output": o} for i, o in zip(inputs, outputs, strict=True)]
    wrapped = bool(outputs) and all(isinstance(o, list) and len(o) == 1 for o in outputs)
    return [
        {"input": i, "output": o, "fn_name": name, "type": "function_call" if wrapped else "functional"}
        for i, o in zip(inputs, outputs, strict=True)
    ]


def _typed(item: Mapping[str, Any], entry: str | None) -> Case:
    """A script, or the call of a function that the test, its metadata or the row names."""
    kind = item.get("testtype") or item.get("type")
    if kind is not None and kind not in (*SCRIPTS, *CALLS):
        raise ValueError(f"the type {shown(kind)} is none of {', '.join((*SCRIPTS, *CALLS))}")
    metadata = item.get("metadata")
    inner = metadata.get("func_name") if isinstance(metadata, Mapping) else None
    name = item.get("fn_name") or item.get("func_name") or inner
    if kind in SCRIPTS or (kind is None and not name):
        return _script(item["input"], item["output"])
    name = name or entry
    if not isinstance(name, str) or not is_target(name):
        raise ValueError(
            "it calls a function, and nothing names which: the key fn_name, or the row's metadata (func_name) or "
            "entry_point, must"
        )
    texts = isinstance(item["input"], str) and isinstance(item["output"], str)
    expected = _value(item["output"]) if texts else item["output"]
    args = [_with_numbers(a) for a in _arguments(item["input"])]
    return checked(Call(name, args, _meant(expected, wrapped=kind == "function_call"), or_method=name.isidentifier()))


def _arguments(value: Any) -> Sequence[Any]:
    """A list of arguments, or a text with one value of JSON in each line."""
    if isinstance(value, str):
        return [_value(line) for line in value.strip("\n").split("\n")] if value.strip() else []
    if not isinstance(value, Sequence):
        raise ValueError("the arguments of a call are a list, or lines of JSON")
    return value


def _value(text: str) -> Any:
    try:
        return plain_json.loads(text)
    except ValueError as error:
        raise ValueError(f"not a value of JSON: {error}") from error


def _meant(expected: Any, wrapped: bool) -> AnyOf:
    """What a value of JSON may stand for: its keys may have been whole numbers, and a list of one its only member."""
    values = [expected]
    if wrapped and isinstance(expected, list) and len(expected) == 1:
        values.append(expected[0])
    values += [with_numbers for value in values if (with_numbers := _with_numbers(value)) != value]
    return AnyOf(tuple(values))


def _with_numbers(value: Any) -> Any:
    """The value with whole numbers as keys where all keys of an object are such: JSON has only texts for them."""
    if isinstance(value, list):
        return [_with_numbers(v) for v in value]
    if not isinstance(value, Mapping):
        return value
    whole = bool(value) and all(isinstance(k, str) and k.removeprefix("-").isdecimal() and k.isascii() for k in value)
    return {int(k) if whole else k: _with_numbers(v) for k, v in value.items()}


def _script(stdin: Any, stdout: Any) -> Script:
    return Script(_text(stdin), _text(stdout))


def _text(value: Any) -> str:
    """A text, or a list of its lines."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(line, str | int | float) for line in value):
        return "".join(f"{line}\n" for line in value)
    raise ValueError("input and output must be text, or lists of lines")


def _call(item: Mapping[str, Any]) -> Call:
    target, args, kwargs = item["call"], item.get("args", []), item.get("kwargs") or {}
    if not isinstance(target, str) or not is_target(target):
        raise ValueError("`call` must be a function's name, or a path such as Solution().solve")
    if not isinstance(args, Sequence) or isinstance(args, str) or not isinstance(kwargs, Mapping):
        raise ValueError("`args` must be a list and `kwargs` an object")
    return checked(Call(target, args, item["expected"], kwargs))
