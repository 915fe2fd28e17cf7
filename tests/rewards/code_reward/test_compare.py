"""When a value is the expected one, and that values survive the way out of the sandbox with their types."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict, deque, namedtuple
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postlude.code.compare import Comparison
from postlude.sandbox.inside.plain import decode, encode

EXACT, LOOSE = Comparison(), Comparison(types="loose")
UNEQUAL = [
    (1, True),
    (1, 1.0),
    (0, False),
    ("1", 1),
    ((1,), [1]),
    (None, False),
    ({1: 2}, {True: 2}),
    ({1}, {1.0}),
    (b"a", "a"),
    ({1}, frozenset({1})),
    ([1], [1, 1]),
    ({"a": 1}, {"a": 1, "b": 2}),
    ({"a": 1}, {"b": 1}),
    (math.nan, math.nan),
    ([math.nan], [math.nan]),
    (0.1 + 0.2, 0.3),
    (1 + 0j, 1),
    ([[1]], [[2]]),
    ((1, (2,)), (1, [2])),
]


@pytest.mark.parametrize(("expected", "got"), UNEQUAL)
def test_values_that_are_not_the_same(expected: Any, got: Any) -> None:
    assert not EXACT.equal(expected, got)


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
keys = st.booleans() | st.integers() | st.text() | st.tuples(st.integers(), st.text())
plain = st.recursive(
    scalars | st.complex_numbers(allow_nan=False),
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(keys, inner) | st.sets(keys) | st.frozensets(keys)
    ),
    max_leaves=12,
)


@given(plain)
def test_a_value_goes_out_and_back_as_itself(value: Any) -> None:
    assert EXACT.equal(value, decode(json.loads(json.dumps(encode(value), allow_nan=False))))


@given(plain, plain)
def test_equality_is_stricter_than_that_of_python(a: Any, b: Any) -> None:
    assert a == b or not EXACT.equal(a, b)
    assert not EXACT.equal(a, b) or type(a) is type(b)


def test_loose_types_are_kin_but_true_is_not_one() -> None:
    assert LOOSE.equal(2, 2.0) and LOOSE.equal(2.0, 2) and LOOSE.equal([(1, 2)], [[1, 2.0]])
    assert not LOOSE.equal(1, True) and not LOOSE.equal(2, 2.5) and not LOOSE.equal("1", 1)
    assert not LOOSE.equal(10**400, 1.0) and not LOOSE.equal(2**53 + 1, float(2**53))


def test_tolerance_is_absolute_near_zero_and_relative_beyond() -> None:
    near = Comparison(tolerance=1e-6)
    assert near.equal(0.0, 1e-7) and near.equal(1e9, 1e9 + 100) and near.equal([0.5], [0.5000001])
    assert not near.equal(0.0, 1e-5) and not near.equal(1.0, 1) and not near.equal(math.inf, 1e308)
    assert near.equal(math.inf, math.inf) and not near.equal(math.nan, math.nan)


def test_printed_text_is_compared_by_lines_or_with_a_tolerance_by_words() -> None:
    assert EXACT.same_text("1 2\n3\n", "1 2  \n3\n\n") and EXACT.same_text("", "\n")
    assert not EXACT.same_text("1 2", "1  2") and not EXACT.same_text("1\n2", "1 2") and not EXACT.same_text("a", " a")
    near = Comparison(tolerance=1e-3)
    assert (
        near.same_text("0.5 x", "0.50001\nx")
        and not near.same_text("0.5", "0.6")
        and not near.same_text("nan", "nan 1")
    )


class Text(str):
    pass


class Lying(int):
    def __eq__(self, other: object) -> bool:
        return True

    def __int__(self) -> int:
        return 4

    __hash__ = int.__hash__


Span = namedtuple("Span", "low high")


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Text("a"), "a"),
        (Lying(3), 3),
        (Span(1, 2), (1, 2)),
        (Counter("aab"), {"a": 2, "b": 1}),
        (defaultdict(list, {1: [2]}), {1: [2]}),
        (deque([1]), deque([1])),
        (range(3), range(3)),
        (Fraction(1, 2), Fraction(1, 2)),
        ({1: 2}.keys(), {1}),
    ],
)
def test_what_is_like_a_plain_value_is_sent_as_that(value: Any, plain: Any) -> None:
    back = decode(json.loads(json.dumps(encode(value))))
    assert (back == plain and type(back) is not type(value)) or value == plain


@pytest.mark.parametrize("value", [object(), [object()], {1: iter([])}, iter([]), type, len])
def test_what_is_not_plain_does_not_come_back(value: Any) -> None:
    with pytest.raises(ValueError, match="is not plain"):
        decode(encode(value))


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"a": 1, "b": 2},
        {"int": 3},
        {"int": "zz"},
        {"float": "1"},
        {"tuple": 3},
        {"set": [[1]]},
        {"set": [1, 1]},
        {"dict": [[1]]},
        {"dict": [{"tuple": [1, 2]}]},
        {"dict": [[1, 2], [1, 3]]},
        {"bytes": "0"},
        {"complex": [1]},
        {"eval": "1"},
    ],
)
def test_what_encode_never_makes_is_refused(record: Any) -> None:
    with pytest.raises(ValueError):
        decode(record)


def test_deep_values_are_errors_on_both_ways() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError):
        encode(deep)
    with pytest.raises((ValueError, RecursionError)):
        decode(deep)
