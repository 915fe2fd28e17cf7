"""Gold and response -> verdict: extraction, the exact path, and algebra in a worker for what is left."""

from __future__ import annotations

import importlib.util
import re
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from typing import Any, Literal

from postlude.maths import prefilter
from postlude.maths.compare import Comparison, Outcome
from postlude.maths.extract import DEFAULT, Extraction, extract
from postlude.maths.golds import gold_text
from postlude.maths.normalise import normalise
from postlude.maths.problems import Refused, Unreadable, Unsupported
from postlude.maths.reading import read
from postlude.maths.values import Collection, Labelled, Listing, Value, Words
from postlude.maths.verbatim import verbatim
from postlude.maths.workers import POSIX, Limits, WorkerError, pool

_KNOWN = re.compile(
    r"\\(?:frac|sqrt|pi|cdot|times|div|pm|sin|cos|tan|cot|sec|csc|ln|log|exp|binom|infty|alpha|beta|gamma|theta|lambda|vec"
    r"|hat|over|choose|gcd|max|min|partial|nabla|det)(?![A-Za-z])"
)
"""Commands of a notation that math-verify is trusted with."""
_UNSAFE = re.compile(r"""[A-Za-z]{2}|\\[A-Za-z]|[=<>,;_%¤€£°:!'"?~`&#@]""")
"""What it may drop without a word: words, units, bases, lists, other commands."""
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
    """Of an error: the traceback."""

    @property
    def score(self) -> float | None:
        """1 for equal; None where the fault is not the answer's; else 0."""
        return None if self.verdict == "error" else float(self.verdict == "equal")


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
    ) -> None:
        self._tolerance, self._rules, self._limits = tolerance, tuple(rules), limits or Limits()
        self._comparison = Comparison(tolerance)

    def verify(self, gold: Any, response: str) -> Result:
        return self.verify_all([(gold, response)])[0]

    def verify_all(self, pairs: Sequence[tuple[Any, str]]) -> list[Result]:
        """A result for each (gold, response); what needs a worker is done by all of them at once."""
        found = [self._timed(lambda g=g, r=r: self._exact(g, r)) for g, r in pairs]
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
            text = gold_text(gold)
            read(text)
        except Unsupported as problem:
            return self._foreign_problem(gold, str(problem))
        except Unreadable as problem:
            return str(problem)
        return None

    def only_text(self, gold: Any) -> str | None:
        """Why nothing but its own words would equal a gold; None where its value is compared, or it is no gold."""
        try:
            value = _read(gold_text(gold))
        except Unreadable:
            return None
        if isinstance(value, str):
            return value
        return "it is words" if isinstance(value, Words) else None

    def _foreign_problem(self, gold: Any, reason: str) -> str | None:
        """A notation that is not ours: whether the worker's other parser finds it equal to itself."""
        try:
            text = normalise(gold_text(gold))
            job = self._foreign(text, text)
        except Unreadable:
            return reason
        if not has_math_verify():
            return f"{reason} (math-verify, which reads more notations, is missing: pip install 'postlude[maths]')"
        try:
            return None if job and pool(self._limits).ask(job).get("equal") else reason
        except (WorkerError, OSError) as error:
            return f"{reason} ({error})"

    # ------------------------------------------------------------------------------------------------ the stages

    def _timed(self, step: Callable[[], Result | _Open]) -> Result | _Open:
        started = time.perf_counter()
        try:
            found = step()
        except Exception as error:  # a fault of this program must not look like a wrong answer
            found = Result("error", type(error).__name__, trace=traceback.format_exc())
        seconds = time.perf_counter() - started
        if isinstance(found, _Open):
            return replace(found, result=replace(found.result, seconds=seconds))
        return replace(found, seconds=seconds)

    def _exact(self, gold: Any, response: str) -> Result | _Open:
        found = extract(response, self._rules)
        if found.text is None:
            return Result("unparsable", found.rule)
        base = Result("different", found.rule, found.text.strip())
        try:
            expected = gold_text(gold)
            right = _read(expected)
        except Unreadable as problem:
            return replace(base, verdict="error", rule="gold", trace=f"the gold {str(gold)[:80]!r}: {problem}")
        try:
            answer = _read(found.text)
        except Unreadable as problem:
            return replace(base, verdict="unparsable", rule=f"{found.rule}: {problem}", gold=_form(right))
        base = replace(base, gold=_form(right), answer=_form(answer))
        if found.hedged or any(self._distinct(found, other) for other in found.others):
            return replace(base, verdict="ambiguous", rule=f"{found.rule}, another answer beside it")
        return self._decide(base, right, answer, (expected, found.text))

    def _distinct(self, found: Extraction, other: str) -> bool:
        """Whether a competing statement says something else than the answer."""
        if normalise(other) == normalise(found.text or ""):
            return False
        try:
            return self._comparison.same(read(other), read(found.text or "")) is not True
        except Unreadable:
            return True

    def _decide(self, base: Result, gold: Value | str, answer: Value | str, texts: tuple[str, str]) -> Result | _Open:
        if isinstance(gold, str) or isinstance(answer, str):
            return self._foreign_notation(base, gold, answer, texts)
        if isinstance(answer, Listing) and answer.hedged and not _several(gold):
            return replace(base, verdict="ambiguous", rule=f'{base.rule}, "or" in it')
        try:
            outcome = self._comparison.same(gold, answer)
        except Unreadable as problem:
            return replace(base, verdict="unparsable", rule=f"{base.rule}: {problem}")
        return self._exactly(base, outcome)

    def _exactly(self, base: Result, outcome: Outcome) -> Result | _Open:
        if isinstance(outcome, bool):
            return replace(base, verdict="equal" if outcome else "different", rule=f"{base.rule}, exact")
        if not POSIX:
            return replace(base, rule=f"{base.rule}, not decided exactly (algebra needs POSIX)")
        try:
            for tree in (t for pair in outcome for t in pair):
                prefilter.check_tree(tree)
        except Refused as problem:
            return replace(base, verdict="unparsable", rule=f"{base.rule}, not given to algebra: {problem}")
        job = {"pairs": outcome, "tolerance": str(self._tolerance)}
        return _Open(replace(base, rule=f"{base.rule}, algebra"), job)

    def _foreign_notation(
        self, base: Result, gold: Value | str, answer: Value | str, texts: tuple[str, str]
    ) -> Result | _Open:
        """One of the two is in a notation that is not ours: `str` is the reason."""
        mine, theirs = (normalise(t) for t in texts)
        if isinstance(gold, str) and (mine == theirs or verbatim(texts[0]) == verbatim(texts[1])):
            return replace(base, verdict="equal", rule=f"{base.rule}, same text")
        reason = answer if isinstance(answer, str) else "the gold is in another notation"
        if isinstance(answer, str) and re.search(r"(?<![a-z\\])or(?![a-z])", theirs):
            return replace(base, verdict="ambiguous", rule=f'{base.rule}, "or" in it')
        try:
            job = self._foreign(mine, theirs)
        except Refused as problem:
            return replace(base, verdict="unparsable", rule=f"{base.rule}: {problem}")
        if job is None:
            lacking = "" if has_math_verify() else " (math-verify is not installed)"
            return replace(base, verdict="unparsable", rule=f"{base.rule}: {reason}{lacking}")
        return _Open(replace(base, rule=f"{base.rule}, math-verify"), job)

    def _foreign(self, gold: str, answer: str) -> dict[str, Any] | None:
        """A job for math-verify; None without it, or where words, lists or relations make its reading unsafe."""
        if not (POSIX and has_math_verify()):
            return None
        for text in (gold, answer):
            prefilter.check_text(text)
            if _UNSAFE.search(_KNOWN.sub(" ", text)):
                return None
        return {"latex": [gold, answer]}

    def _finish(self, one: _Open) -> Result:
        started = time.perf_counter()
        try:
            reply = pool(self._limits).ask(one.job)
        except (WorkerError, OSError) as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        seconds = one.result.seconds + time.perf_counter() - started
        return _settled(replace(one.result, seconds=seconds), reply)


def _settled(result: Result, reply: dict[str, Any]) -> Result:
    if "limit" in reply:
        return replace(result, verdict="timeout", rule=f"{result.rule}: {reply['limit']}")
    if "error" in reply:
        return replace(result, verdict="error", trace=reply["error"])
    if reply["equal"] is None:
        return replace(result, verdict="unparsable", rule=f"{result.rule} reads no value")
    return replace(result, verdict="equal" if reply["equal"] else "different")


def _read(text: str) -> Value | str:
    """The value, or why it is in a notation that is not ours. Raises Undefined and Refused."""
    try:
        return read(text)
    except Unsupported as problem:
        return str(problem)


def _form(value: Value | str) -> str | None:
    return None if isinstance(value, str) else str(value)[:200]


def _several(value: Value) -> bool:
    inner = value.value if isinstance(value, Labelled) else value
    return isinstance(inner, Listing | Collection)
