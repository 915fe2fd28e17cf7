"""What the numbers and texts of a setting may be: said once, at the field.

The check, the documents and Python users read it there. A field is written `Annotated[float, Bounds(0, 1)]`: pydantic
refuses what lies outside with the field's own key, so that all such mistakes of a recipe are found at once, and `hold`
does the same for a value made in Python.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import BeforeValidator, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

MANY = 10**9
"""No count of a run is larger: steps, rows, tokens."""
NEAR = 1000
"""Up to here both ends of a range are told."""
KIND = "bounds"
"""Type of the errors that pydantic reports for them; their text is the end of a sentence."""
_DRIVES = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class Bounds:
    """A finite number between `low` and `high`; `above` and `below` leave these two out."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False
    infinite: bool = False
    """Whether plus infinity is a value too."""

    def __str__(self) -> str:
        """As the documents print it: `at least 1`, `(0, 1]`."""
        low, high = f"{'above' if self.above else 'at least'} {_number(self.low)}", _number(self.high)
        text = f"{'(' if self.above else '['}{_number(self.low)}, {high}{')' if self.below else ']'}"
        if self.low == -math.inf:
            text = "finite" if self.high == math.inf else f"{'below' if self.below else 'at most'} {high}"
        elif self.high == math.inf:
            text = low
        return f"{text}, or .inf" if self.infinite else text

    def problem(self, value: float) -> str | None:
        """What is wrong with a number, as the end of a sentence that begins with its key."""
        if self.infinite and value == math.inf:
            return None
        if not math.isfinite(value):
            return f"must be a finite number, got {value}"
        if not (self.low < value if self.above else self.low <= value):
            return f"must {self._wanted(high=False)}, got {_number(value)}"
        if not (value < self.high if self.below else value <= self.high):
            return f"must {self._wanted(high=True)}, got {_number(value)}"
        return None

    def _wanted(self, high: bool) -> str:
        """Both ends where they are near; else the one that was passed."""
        if self.low > -math.inf and self.high <= NEAR:
            return f"lie in {self}"
        if high:
            return f"be {'below' if self.below else 'at most'} {_number(self.high)}"
        if self.low == 0:
            return "be positive" if self.above else "not be negative"
        return f"be {'above' if self.above else 'at least'} {_number(self.low)}"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = core_schema.float_schema(allow_inf_nan=True, strict=True) if source is float else handler(source)
        return core_schema.no_info_after_validator_function(self._checked, schema)

    def _checked(self, value: Any) -> Any:
        problem = self.problem(value)
        if problem:
            raise PydanticCustomError(KIND, "{problem}", {"problem": problem})
        return value


@dataclass(frozen=True)
class Fits:
    """Text of which a function says what is wrong, as the end of a sentence that begins with its key."""

    problem: Callable[[str], str | None]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def _checked(self, value: str) -> str:
        problem = self.problem(value)
        if problem:
            raise PydanticCustomError(KIND, "{problem}", {"problem": problem})
        return value


def _not_one_line(value: str) -> str | None:
    control = _DRIVES.search(value)
    return f"must be one line of plain text, got {value[:60]!r}" if control else None


@dataclass(frozen=True)
class OneLine(Fits):
    """Text without line ends and without characters that steer a terminal or a file system."""

    problem: Callable[[str], str | None] = _not_one_line


def _number_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Line = Annotated[str, OneLine()]
Word = Annotated[Line, BeforeValidator(_number_as_text)]
"""The same where YAML makes numbers of words: 64 is "64"."""
Count = Annotated[int, Bounds(1, MANY)]
CountOrZero = Annotated[int, Bounds(0, MANY)]
"""A count where 0 means none, or off."""
Share = Annotated[float, Bounds(0, 1)]
Positive = Annotated[float, Bounds(0, 1e9, above=True)]
NotNegative = Annotated[float, Bounds(0, 1e9)]
Finite = Annotated[float, Bounds(-1e9, 1e9)]
Rate = Annotated[float, Bounds(0, 1, above=True)]
"""A learning rate: AdamW moves a weight by about so much in one step."""
Small = Annotated[float, Bounds(0, 1, above=True)]
"""What keeps a division away from 0."""
Workers = Annotated[int, Bounds(1, 1024)]
Seconds = Annotated[float, Bounds(0, 1e6, above=True)]


def bounds_of(hint: Any) -> Bounds | OneLine | None:
    """The limits of a field's type, also inside an optional one."""
    if get_origin(hint) is Annotated:
        limits = [m for m in get_args(hint)[1:] if isinstance(m, Bounds | OneLine)]
        if limits:
            return limits[0]
    return next((b for arg in get_args(hint) if (b := bounds_of(arg)) is not None), None)


def hold(value: Any) -> None:
    """Raises ValueError with every field of a dataclass that lies outside its limits. For `__post_init__`."""
    problems = []
    for name, limits in _limits(type(value)).items():
        given = getattr(value, name)
        fits = str if isinstance(limits, OneLine) else int | float
        problem = limits.problem(given) if isinstance(given, fits) else None  # type: ignore[arg-type]
        problems += [f"{name} {problem}"] if problem else []
    if problems:
        raise ValueError("; ".join(problems))


@cache
def _limits(kind: type) -> Mapping[str, Bounds | OneLine]:
    hints = get_type_hints(kind, include_extras=True)
    return {name: limits for name, hint in hints.items() if (limits := bounds_of(hint)) is not None}


def _number(value: float) -> str:
    """1000000000 and 1e9 as 1e9, 0.5 as it is."""
    if isinstance(value, int) and not (abs(value) >= 10**6 and str(abs(value)).strip("0") == "1"):
        return str(value)
    return f"{value:g}".replace("e+0", "e").replace("e+", "e")
