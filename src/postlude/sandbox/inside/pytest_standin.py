"""What test code takes from pytest, as far as tests of a program need it."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import math
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any


class Skipped(BaseException):
    """Not an Exception, so that test code that catches those does not catch it."""


class Failed(BaseException):
    """As Skipped."""


class ExpectedToFail(BaseException):
    """As Skipped."""


# ---------------------------------------------------------------------------------------------------------------- marks


@dataclass(frozen=True)
class Mark:
    """A mark with its arguments: a decorator, and a value of `pytestmark`."""

    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Marks the function or class that it is given alone; anything else are more arguments."""
        target = args[0] if len(args) == 1 and not kwargs else None
        if isinstance(target, type) or (isinstance(target, FunctionType) and target.__name__ != "<lambda>"):
            target.pytestmark = [*marks_of(vars(target).get("pytestmark", [])), self]  # type: ignore[union-attr]
            return target
        return Mark(self.name, (*self.args, *args), {**self.kwargs, **kwargs})


class Marks:
    def __getattr__(self, name: str) -> Mark:
        if name.startswith("__"):
            raise AttributeError(name)
        return Mark(name)


@dataclass(frozen=True)
class Param:
    values: tuple[Any, ...]
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Parameters:
    """One set of values for the arguments of a test."""

    values: dict[str, Any]
    marks: tuple[Mark, ...] = ()


def param(*values: Any, marks: Any = (), id: Any = None) -> Param:
    return Param(values, tuple(marks_of(marks)))


def marks_of(value: Any) -> list[Mark]:
    return [value] if isinstance(value, Mark) else [m for m in value if isinstance(m, Mark)]


def parameters(marks: Sequence[Mark]) -> list[Parameters]:
    """Every combination of the sets that the `parametrize` marks hold; one empty set without such marks."""
    sets = [_sets(*m.args, **m.kwargs) for m in marks if m.name == "parametrize"]
    return [
        Parameters({k: v for one in some for k, v in one.values.items()}, tuple(m for one in some for m in one.marks))
        for some in itertools.product(*sets)
    ]


def _sets(argnames: Any, argvalues: Any, **kwargs: Any) -> list[Parameters]:
    single = isinstance(argnames, str) and "," not in argnames
    names = [n.strip() for n in argnames.split(",")] if isinstance(argnames, str) else list(argnames)
    sets = []
    for item in argvalues:
        values, marks = (item.values, item.marks) if isinstance(item, Param) else ((item,) if single else item, ())
        if len(values) != len(names):
            raise ValueError(f"parametrize has {len(names)} names and {len(values)} values")
        sets.append(Parameters(dict(zip(names, values, strict=True)), marks))
    return sets


def reason_to_skip(marks: Sequence[Mark]) -> str | None:
    for mark in marks:
        reason = str(mark.kwargs.get("reason", mark.name))
        if mark.name == "skip" or (mark.name == "skipif" and _holds(mark)):
            return reason
        if mark.name == "xfail" and mark.kwargs.get("run") is False:
            return reason
    return None


def _holds(mark: Mark) -> bool:
    condition = mark.args[0] if mark.args else mark.kwargs.get("condition")
    return bool(eval(condition, {"sys": sys})) if isinstance(condition, str) else bool(condition)


# ----------------------------------------------------------------------------------------------------------- assertions


class Raised(contextlib.AbstractContextManager["Raised"]):
    """`raises`: the exception that the block raised."""

    def __init__(self, expected: Any, match: str | None = None, check: Callable[[Any], bool] | None = None) -> None:
        self.expected, self._match, self._check = expected, match, check
        self.value: Any = None
        self.type: Any = None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        if kind is None:
            raise Failed(f"DID NOT RAISE {self.expected}")
        if not isinstance(error, self.expected):
            return False
        self.value, self.type, self.tb = error, kind, trace
        if self._match is not None:
            self.match(self._match)
        if self._check is not None and not self._check(error):
            raise AssertionError("the exception is not as it should be")
        return True

    def match(self, pattern: str) -> bool:
        if re.search(pattern, str(self.value)) is None:
            raise AssertionError(f"{pattern!r} is not in {str(self.value)!r}")
        return True

    @property
    def typename(self) -> str:
        return type(self.value).__name__

    def exconly(self, tryshort: bool = False) -> str:
        return f"{self.typename}: {self.value}"


def raises(
    expected_exception: Any = BaseException, *args: Any, match: Any = None, check: Any = None, **kwargs: Any
) -> Any:
    caught = Raised(expected_exception, match, check)
    if not args:
        return caught
    with caught:
        args[0](*args[1:], **kwargs)
    return caught


class Approx:
    """Equal to what is near: numbers, and numbers in lists, tuples and dicts."""

    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, expected: Any, rel: float | None = None, abs: float | None = None, nan_ok: bool = False) -> None:
        self.expected, self._rel, self._abs, self._nan = expected, rel, abs, nan_ok

    def __eq__(self, got: object) -> bool:
        return self._near(self.expected, got)

    def __ne__(self, got: object) -> bool:
        return not self == got

    def __repr__(self) -> str:
        return f"approx({self.expected!r})"

    def _near(self, expected: Any, got: Any) -> bool:
        expected, got = _listed(expected), _listed(got)
        if isinstance(expected, Mapping):
            same = isinstance(got, Mapping) and expected.keys() == got.keys()
            return same and all(self._near(expected[k], got[k]) for k in expected)
        if isinstance(expected, Sequence) and not isinstance(expected, str | bytes):
            if not isinstance(got, Sequence) or isinstance(got, str | bytes) or len(expected) != len(got):
                return False
            return all(map(self._near, expected, got))
        return self._near_number(expected, got)

    def _near_number(self, expected: Any, got: Any) -> bool:
        if isinstance(expected, bool) or (not isinstance(expected, int | float | complex) and not _is_number(expected)):
            return bool(expected == got)
        if isinstance(got, bool) or not _is_number(got):
            return False
        if expected == got:
            return True
        if expected != expected or got != got:
            return self._nan and expected != expected and got != got
        if math.isinf(abs(expected)) or math.isinf(abs(got)):
            return False
        return bool(abs(expected - got) <= self._tolerance(expected))

    def _tolerance(self, expected: Any) -> Any:
        absolute = 1e-12 if self._abs is None else self._abs
        if self._rel is None and self._abs is not None:
            return absolute
        kind = type(expected) if type(expected).__name__ in ("Decimal", "Fraction") else float
        relative = kind(str(1e-6 if self._rel is None else self._rel)) * abs(expected)
        return max(relative, kind(str(absolute)))


def _is_number(value: Any) -> bool:
    import numbers

    return isinstance(value, numbers.Number)


def _listed(value: Any) -> Any:
    """Arrays as lists."""
    return value.tolist() if hasattr(type(value), "__array__") and hasattr(type(value), "tolist") else value


class Warned(contextlib.AbstractContextManager[Any]):
    def __init__(self, expected: Any = Warning, match: str | None = None) -> None:
        self._expected, self._match = expected, match

    def __enter__(self) -> Any:
        self._catching = warnings.catch_warnings(record=True)
        self._record = self._catching.__enter__()
        warnings.simplefilter("always")
        return self._record

    def __exit__(self, *error: Any) -> None:
        self._catching.__exit__(*error)
        fitting = [w for w in self._record or () if issubclass(w.category, self._expected)]
        if error[0] is None and not any(re.search(self._match or "", str(w.message)) for w in fitting):
            raise Failed(f"DID NOT WARN {self._expected}")


# ----------------------------------------------------------------------------------------------------------- the module


def fixture(function: Any = None, /, **settings: Any) -> Any:
    def mark(function: Any) -> Any:
        function.fixture = settings
        return function

    return mark(function) if callable(function) else mark


def skip(reason: str = "", *, allow_module_level: bool = False, msg: str = "") -> None:
    raise Skipped(reason or msg)


def fail(reason: str = "", pytrace: bool = True, msg: str = "") -> None:
    raise Failed(reason or msg)


def xfail(reason: str = "") -> None:
    raise ExpectedToFail(reason)


def importorskip(modname: str, minversion: Any = None, reason: Any = None) -> Any:
    try:
        return importlib.import_module(modname)
    except ImportError as error:
        raise Skipped(f"{modname} is not there") from error


def _exit(reason: str = "", returncode: Any = None) -> None:
    raise Failed(f"pytest.exit: {reason}")


def module() -> ModuleType:
    """A new module `pytest`."""
    pytest = ModuleType("pytest")
    skip.Exception, fail.Exception = Skipped, Failed  # type: ignore[attr-defined]
    contents: dict[str, Any] = {
        "raises": raises, "approx": Approx, "mark": Marks(), "param": param, "fixture": fixture, "skip": skip,
        "fail": fail, "xfail": xfail, "importorskip": importorskip, "warns": Warned, "exit": _exit,
        "deprecated_call": lambda: Warned(DeprecationWarning), "main": lambda *args, **kwargs: 0,
        "PytestWarning": UserWarning, "__version__": "8.0.0",
    }  # fmt: skip
    vars(pytest).update(contents)
    return pytest
