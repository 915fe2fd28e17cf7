"""Gold and response -> verdict: extraction, the exact path, and algebra in a worker for what is left."""

from __future__ import annotations

import importlib.util
import re
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any, Literal

from postlude.maths import foreign, numerals, prefilter, prose
from postlude.maths.compare import Comparison, Outcome
from postlude.maths.conventions import Conventions
from postlude.maths.extract import DEFAULT, Extraction, extract
from postlude.maths.golds import gold_text
from postlude.maths.normalise import bounded, normalise
from postlude.maths.parts import Pair, bare_letter, footing, parts, unlabelled
from postlude.maths.problems import FAULTS, Refused, Unreadable, Unsupported
from postlude.maths.reading import read
from postlude.maths.values import Assignment, Collection, Labelled, Listing, Phrase, Series, Value, Words
from postlude.maths.verbatim import verbatim
from postlude.maths.workers import POSIX, Limits, WorkerError, pool

_LIMIT = "[lim("
"""A gold's limit is worked out; an answer's is the answer's to work out."""
Verdict = Literal["equal", "different", "ambiguous", "unparsable", "timeout", "error"]


@dataclass(frozen=True)
class Result:
    """What was found. `rule` says where the answer stood and what decided; `seconds` is wall-clock time."""

    verdict: Verdict
    rule: str
    extracted: str | None = None
    gold: str | None = None
    """The canonical form of the gold answer."""
    answer: str | None = None
    """The canonical form of the extracted answer."""
    seconds: float = 0.0
    trace: str = field(default="", compare=False)
    """Of an error, and of an answer at which arithmetic fails: the traceback."""

    @property
    def score(self) -> float | None:
        """1 for equal; None where the fault is not the answer's; else 0."""
        return None if self.verdict == "error" else float(self.verdict == "equal")


def _changed(result: Result, **fields: Any) -> Result:
    """What `dataclasses.replace` gives, in a quarter of its time: a verdict is made in three steps."""
    changed = object.__new__(Result)
    changed.__dict__.update(result.__dict__, **fields)
    return changed


@dataclass(frozen=True)
class _Open:
    """A comparison that a worker has to finish."""

    result: Result
    job: dict[str, Any]


@cache
def has_math_verify() -> bool:
    return importlib.util.find_spec("math_verify") is not None


class Verifier:
    """Compares responses with golds; the same result in any thread or process."""

    def __init__(
        self,
        tolerance: Fraction = Fraction(0),
        rules: Sequence[str] = DEFAULT,
        limits: Limits | None = None,
        conventions: Conventions | None = None,
    ) -> None:
        self._tolerance, self._rules, self._limits = tolerance, tuple(rules), limits or Limits()
        self._comparison = Comparison(tolerance, conventions or Conventions())
        self._with_commas = self._comparison.conventions.decimal == "comma"

    def verify(self, gold: Any, response: str) -> Result:
        return self.verify_all([(gold, response)])[0]

    def verify_all(self, pairs: Sequence[tuple[Any, str]]) -> list[Result]:
        """A result for each (gold, response); what needs a worker is done by all of them at once."""
        found = [self._timed(lambda g=g, r=r: self._judged(g, r)) for g, r in pairs]
        waiting = [f for f in found if isinstance(f, _Open)]
        if len(waiting) > 1 and self._limits.size > 1:
            with ThreadPoolExecutor(self._limits.size) as threads:
                finished = list(threads.map(self._finish, waiting))
        else:
            finished = [self._finish(w) for w in waiting]
        later = iter(finished)
        return [next(later) if isinstance(f, _Open) else f for f in found]

    def problem_of_gold(self, gold: Any) -> str | None:
        """Why no answer could ever be compared with a gold; None where it is sound."""
        try:
            value, _ = _gold(self._expected(gold))
            if isinstance(value, str):
                return self._foreign_problem(gold, value)
        except Unreadable as problem:
            return str(problem)
        except FAULTS as fault:
            return f"to read it fails ({type(fault).__name__})"
        return None

    def only_text(self, gold: Any) -> str | None:
        """Why nothing but its own words would equal a gold; None where its value is compared, or it is no gold."""
        try:
            value, _ = _gold(self._expected(gold))
        except (Unreadable, *FAULTS):
            return None
        if isinstance(value, str):
            return value
        if isinstance(value, Phrase):
            return "it is values with words around them"
        return "it is words" if isinstance(value, Words) else None

    def _foreign_problem(self, gold: Any, reason: str) -> str | None:
        """A notation that is not ours: whether the worker's other parser finds it equal to itself."""
        try:
            text = normalise(self._expected(gold))
            job = self._foreign(text, text)
        except Unreadable:
            return reason
        if not has_math_verify():
            return f"{reason} (math-verify, which reads more notations, is missing: pip install 'postlude[maths]')"
        try:
            return None if job and pool(self._limits).ask(job).get("equal") else reason
        except (WorkerError, OSError) as error:
            return f"{reason} ({error})"

    def _expected(self, gold: Any) -> str:
        """The text of a gold. Raises Unreadable."""
        text = gold_text(gold)
        return numerals.from_commas(text) if self._with_commas and isinstance(gold, str) else text

    # ------------------------------------------------------------------------------------------------ the stages

    def _timed(self, step: Callable[[], Result | _Open]) -> Result | _Open:
        started = time.perf_counter()
        try:
            found = step()
        except Exception as error:  # a fault of this program must not look like a wrong answer
            found = Result("error", type(error).__name__, trace=traceback.format_exc())
        seconds = time.perf_counter() - started
        if isinstance(found, _Open):
            return _Open(_changed(found.result, seconds=seconds), found.job)
        return _changed(found, seconds=seconds)

    def _judged(self, gold: Any, response: str) -> Result | _Open:
        """A fault that the gold alone does not have is the answer's: it is no value, whatever it was meant to be."""
        try:
            return self._exact(gold, response)
        except FAULTS as fault:
            if not self._is_sound(gold):
                raise
            return Result("unparsable", f"to read it fails ({type(fault).__name__})", trace=traceback.format_exc())

    def _is_sound(self, gold: Any) -> bool:
        try:
            value, _ = _gold(self._expected(gold))
            return isinstance(value, str) or self._comparison.same(value, value) is not False
        except (Unreadable, *FAULTS):
            return False

    def _exact(self, gold: Any, response: str) -> Result | _Open:
        if not isinstance(response, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # from outside
            return Result("unparsable", f"a {type(response).__name__}, no text")
        found = extract(response, self._rules)
        if self._with_commas:
            found = found.mapped(numerals.from_commas)
        if found.text is None:
            return Result("unparsable", found.rule)
        try:
            expected = self._expected(gold)
            right, form = _gold(expected)
        except (Unreadable, *FAULTS) as problem:
            trace = f"the gold {str(gold)[:80]!r}: {problem}"
            return Result("error", "gold", found.text.strip(), trace=trace)
        try:
            text = bounded(found.text)
        except Unreadable as problem:
            return Result("unparsable", f"{found.rule}: {problem}", found.text.strip(), form)
        base = Result("different", found.rule, found.text.strip(), form)
        if found.denied:
            return _changed(base, verdict="ambiguous", rule=f"{found.rule}, denied beside it")
        if any(self._distinct(found.text, other) for other in found.others):
            return self._of_several(base, found, expected, right)
        if any(self._contradicts(found.text, other) for other in found.later):
            return _changed(base, verdict="ambiguous", rule=f"{found.rule}, another answer after it")
        return self._one(base, expected, right, text)

    def _one(self, base: Result, expected: str, right: Value | str, text: str) -> Result | _Open:
        """The verdict on one answer."""
        pair = footing(expected, text)
        try:
            if pair.gold_parts or pair.answer_parts:
                return self._in_order(base, pair, right)
            right = right if pair.gold == expected else _read(pair.gold)
            answer = _read(pair.answer)
            if isinstance(right, Phrase | Words) and not self._same(right, answer):
                answer = _in_prose(right, pair.answer) or answer
        except Unreadable as problem:
            return _changed(base, verdict="unparsable", rule=f"{base.rule}: {problem}")
        return self._decide(_changed(base, answer=_form(answer)), right, answer, (pair.gold, pair.answer))

    def _in_order(self, base: Result, pair: Pair, right: Value | str) -> Result | _Open:
        """The verdict where the gold or the answer names its parts, (a) and (b): each with its own."""
        gold = _series(pair.gold_parts) if pair.gold_parts else _members(right)
        answer = _series(pair.answer_parts) if pair.answer_parts else _members(read(pair.answer))
        base = _changed(base, answer=_form(answer))
        if len(gold.items) != len(answer.items):
            return base
        return self._decide(base, gold, answer, (pair.gold, pair.answer))

    def _of_several(self, base: Result, found: Extraction, expected: str, right: Value | str) -> Result | _Open:
        """The verdict on several answers: they are one of several parts where the gold has as many, and then all must
        match; or what the last one, a list, repeats."""
        try:
            return self._pieced(base, found, expected, right)
        except Unreadable:
            return _changed(base, verdict="ambiguous", rule=f"{found.rule}, another answer beside it")

    def _pieced(self, base: Result, found: Extraction, expected: str, right: Value | str) -> Result | _Open:
        """Raises Unreadable where the answers are not as many as the gold has parts."""
        gold_parts = parts(expected)
        count = len(gold_parts) if gold_parts else _count(right)
        for texts in found.lists if count > 1 else ():
            said = _once(texts)
            if parts(" ".join(said)):
                return self._one(base, expected, right, " ".join(said))
            items = tuple(item for text in said for item in _members(_value(text)).items)
            if len(items) == count:
                answer = Series(items, "(", ")") if gold_parts else _together(said, items)
                base = _changed(base, rule=f"{base.rule}, in {len(said)} pieces", answer=_form(answer))
                return self._decide(base, right, answer, (expected, ", ".join(said)))
        if count > 1 and self._repeats(found):
            return self._one(base, expected, right, found.text or "")
        raise Unsupported("several answers")

    def _repeats(self, found: Extraction) -> bool:
        """Whether the last answer is a list that holds all the others."""
        members = _members(_value(found.text or "")).items
        return all(
            any(self._same(m, item) for m in members)
            for other in found.others
            for item in _members(_value(other)).items
        )

    def _same(self, a: Value | str, b: Value | str) -> bool:
        try:
            return not isinstance(a, str) and not isinstance(b, str) and self._comparison.same(a, b) is True
        except Unreadable:
            return False

    def _distinct(self, text: str, other: str) -> bool:
        """Whether a competing statement says something else than the answer."""
        return normalise(other) != normalise(text) and not self._same(_value(other), _value(text))

    def _contradicts(self, text: str, other: str) -> bool:
        """Whether what is stated later has another value. An option's letter and what the option says are none."""
        if normalise(text) == normalise(other) or (bare_letter(text) is None) != (bare_letter(other) is None):
            return False
        try:
            return self._comparison.same(read(text), read(other)) is False
        except Unreadable:
            return False

    def _decide(self, base: Result, gold: Value | str, answer: Value | str, texts: tuple[str, str]) -> Result | _Open:
        if isinstance(gold, str) or isinstance(answer, str):
            return self._foreign_notation(base, gold, answer, texts)
        if isinstance(answer, Listing) and answer.hedged and not _several(gold):
            ways = {str(item) for item in answer.items}  # 3/4 or 75% is one answer, 7 or 7 a hedge
            if len(ways) < len(answer.items) or not all(self._same(gold, item) for item in answer.items):
                return _changed(base, verdict="ambiguous", rule=f'{base.rule}, "or" in it')
            answer = answer.items[0]
        try:
            outcome = self._comparison.accepts(gold, answer)
        except Unreadable as problem:
            return _changed(base, verdict="unparsable", rule=f"{base.rule}: {problem}")
        return self._exactly(base, outcome)

    def _exactly(self, base: Result, outcome: Outcome) -> Result | _Open:
        if isinstance(outcome, bool):
            return _changed(base, verdict="equal" if outcome else "different", rule=f"{base.rule}, exact")
        if not POSIX:
            return _changed(base, rule=f"{base.rule}, not decided exactly (algebra needs POSIX)")
        if _LIMIT in (base.answer or "") and _LIMIT not in (base.gold or ""):
            return _changed(base, verdict="unparsable", rule=f"{base.rule}: a limit that is not worked out")
        try:
            for tree in (t for pair in outcome for t in pair):
                prefilter.check_tree(tree)
        except Refused as problem:
            return _changed(base, verdict="unparsable", rule=f"{base.rule}, not given to algebra: {problem}")
        job = {"pairs": outcome, "tolerance": str(self._tolerance)}
        return _Open(_changed(base, rule=f"{base.rule}, algebra"), job)

    def _foreign_notation(
        self, base: Result, gold: Value | str, answer: Value | str, texts: tuple[str, str]
    ) -> Result | _Open:
        """One of the two is in a notation that is not ours: `str` is the reason."""
        mine, theirs = (normalise(t) for t in texts)
        if isinstance(gold, str) and (mine == theirs or verbatim(texts[0]) == verbatim(texts[1])):
            return _changed(base, verdict="equal", rule=f"{base.rule}, same text")
        reason = answer if isinstance(answer, str) else "the gold is in another notation"
        if isinstance(answer, str) and re.search(r"(?<![a-z\\])or(?![a-z])", theirs):
            return _changed(base, verdict="ambiguous", rule=f'{base.rule}, "or" in it')
        try:
            job = self._foreign(mine, theirs)
        except Refused as problem:
            return _changed(base, verdict="unparsable", rule=f"{base.rule}: {problem}")
        if job is None:
            lacking = "" if has_math_verify() else " (math-verify is not installed)"
            return _changed(base, verdict="unparsable", rule=f"{base.rule}: {reason}{lacking}")
        return _Open(_changed(base, rule=f"{base.rule}, math-verify"), job)

    def _foreign(self, gold: str, answer: str) -> dict[str, Any] | None:
        """A job for math-verify; None without it, or where a text holds more than terms that it is known to read."""
        if not (POSIX and has_math_verify()):
            return None
        for text in (gold, answer):
            prefilter.check_text(text)
            if not foreign.is_safe(text):
                return None
        return {"latex": [gold, answer]}

    def _finish(self, one: _Open) -> Result:
        started = time.perf_counter()
        try:
            reply = pool(self._limits).ask(one.job)
        except (WorkerError, OSError) as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        seconds = one.result.seconds + time.perf_counter() - started
        return _settled(_changed(one.result, seconds=seconds), reply)


def _settled(result: Result, reply: dict[str, Any]) -> Result:
    if "limit" in reply:
        return _changed(result, verdict="timeout", rule=f"{result.rule}: {reply['limit']}")
    if "failed" in reply:
        kind = reply["failed"].rstrip().rpartition("\n")[2].partition(":")[0]
        return _changed(result, verdict="unparsable", rule=f"{result.rule} fails ({kind})", trace=reply["failed"])
    if "error" in reply:
        return _changed(result, verdict="error", trace=reply["error"])
    if reply["equal"] is None:
        return _changed(result, verdict="unparsable", rule=f"{result.rule} reads no value")
    return _changed(result, verdict="equal" if reply["equal"] else "different")


def _read(text: str) -> Value | str:
    """The value, or why it is in a notation that is not ours. Raises Undefined and Refused."""
    try:
        return read(text)
    except Unsupported as problem:
        return str(problem)


@lru_cache(maxsize=4096)
def _gold(text: str) -> tuple[Value | str, str | None]:
    """The value of a gold, of named parts all of them in order, and its canonical form. Cached, since a prompt has many
    answers."""
    value = _gold_value(text)
    return value, _form(value)


def _in_prose(gold: Phrase | Words, text: str) -> Phrase | Words | None:
    """A sentence as its words and values, where these are as many as the gold's."""
    said = prose.phrase(text)
    return said if said and type(said) is type(gold) and _length(said) == _length(gold) else None


def _length(value: Phrase | Words) -> int:
    return len(value.parts) if isinstance(value, Phrase) else 1


def _gold_value(text: str) -> Value | str:
    alone = footing(bounded(text), text)
    if alone.gold_parts:
        value = _value(", ".join(alone.gold_parts))
        return value if isinstance(value, str) else _series(alone.gold_parts)
    value = _read(text)
    if isinstance(value, str | Phrase) and alone.gold != text:
        return _read(alone.gold)
    return prose.phrase(text) or value if isinstance(value, str) else value


def _value(text: str) -> Value | str:
    """The value, or why there is none."""
    try:
        return read(unlabelled(bounded(text))[1])
    except Unreadable as problem:
        return str(problem)


def _series(texts: Sequence[str]) -> Series:
    return Series(tuple(read(unlabelled(text)[1]) for text in texts), "(", ")")


def _members(value: Value | str) -> Series:
    """The values of a list, in the order written; of anything else itself. Text without a value has none."""
    if isinstance(value, str):
        raise Unsupported(value)
    return Series(value.items if isinstance(value, Listing | Collection) else (value,), "(", ")")


def _together(texts: Sequence[str], items: tuple[Value, ...]) -> Value:
    """Several answers as one: values of names are read together, others are a list."""
    return read(", ".join(texts)) if all(isinstance(i, Labelled) for i in items) else Listing(items)


def _count(value: Value | str) -> int:
    inner = value.value if isinstance(value, Labelled) else value
    if isinstance(inner, Assignment):
        return len(inner.values)
    return len(inner.items) if isinstance(inner, Listing | Collection) else 1


def _once(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Answers that are all said twice or more, one after another in the same order, said once."""
    plain = [normalise(text) for text in texts]
    for length in range(1, len(plain) // 2 + 1):
        if len(plain) % length == 0 and plain == plain[:length] * (len(plain) // length):
            return texts[:length]
    return texts


def _form(value: Value | str) -> str | None:
    return None if isinstance(value, str) else str(value)[:200]


def _several(value: Value) -> bool:
    inner = value.value if isinstance(value, Labelled) else value
    return isinstance(inner, Listing | Collection)
