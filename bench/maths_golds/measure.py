"""One set of right answers, measured."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from bench.maths_golds.mutations import MUTATIONS
from bench.maths_golds.sets import Gold, GoldSet
from bench.maths_golds.spellings import SPELLINGS
from postlude.maths.golds import gold_text
from postlude.maths.problems import Unreadable
from postlude.maths.verify import Verifier

AT_ONCE = 500
"""Pairs that the verifier gets together, so that its workers share what needs algebra."""
Case = tuple[str, Gold, str]
"""Name of the spelling or change, the right answer, the response."""


@dataclass
class Measured:
    """Counts are of rows; the same answer in two rows counts twice, and is asked about once."""

    name: str
    golds: int
    bad: list[tuple[Gold, str]] = field(default_factory=list[tuple[Gold, str]])
    """Right answers that no response is compared with, and why."""
    only_text: list[tuple[Gold, str]] = field(default_factory=list[tuple[Gold, str]])
    mixed: int = 0
    """Those that are compared part by part, as words and values."""
    words: int = 0
    unlike: list[tuple[Gold, str]] = field(default_factory=list[tuple[Gold, str]])
    """Sound ones that are not equal to themselves."""
    spelled: Counter[str] = field(default_factory=Counter[str])
    lost: list[tuple[str, Gold, str]] = field(default_factory=list[tuple[str, Gold, str]])
    changed: Counter[str] = field(default_factory=Counter[str])
    paid: list[tuple[str, Gold, str]] = field(default_factory=list[tuple[str, Gold, str]])

    @property
    def row(self) -> str:
        sound = self.golds - len(self.bad)
        tried, lost = self.spelled.total(), len(self.lost)
        share = f"{tried - lost}/{tried} {1 - lost / max(tried, 1):.2%}"
        return (
            f"{self.name:<20}{self.golds:>7}{len(self.bad):>6}{len(self.only_text):>6}{self.mixed:>7}{self.words:>7}"
            f"{sound - len(self.unlike):>9}{share:>22}{self.changed.total():>10}{len(self.paid):>6}"
        )

    def examples(self, most: int) -> str:
        lines = [f"\n== {self.name}"]
        for title, golds in (("bad", self.bad), ("text only", self.only_text), ("not equal to itself", self.unlike)):
            lines += [f"  {title}  {gold.place}  {str(gold.answer)[-90:]!r}  {reason}" for gold, reason in golds[:most]]
        for title, cases in (("not equal", self.lost), ("PAID", self.paid)):
            shown = Counter[str]()
            for name, gold, response in cases:
                shown[name] += 1
                if shown[name] <= most:
                    lines.append(f"  {title}  [{name}]  {gold.place}  {str(gold.answer)[-70:]!r}  {response!r}")
        return "\n".join(lines)


def measure(one: GoldSet) -> Measured:
    """Try every right answer of a set against itself, its spellings and its changes."""
    verifier = Verifier()
    result = Measured(one.name, len(one.golds))
    sound: list[tuple[Gold, str]] = []
    for gold in one.golds:
        text = _sound(verifier, gold, result)
        if text is not None:
            sound.append((gold, text))
    own = [("itself", gold, rf"\boxed{{{text}}}") for gold, text in sound]
    result.unlike = [(gold, response) for (_, gold, response), equal in _asked(verifier, own) if not equal]
    spelled = [(s.name, gold, r) for gold, text in sound for s in SPELLINGS if (r := s.of(text)) is not None]
    result.spelled.update(name for name, *_ in spelled)
    result.lost = [case for case, equal in _asked(verifier, spelled) if not equal]
    changed = [(m.name, gold, rf"\boxed{{{t}}}") for gold, text in sound for m in MUTATIONS for t in m.of(text)]
    result.changed.update(name for name, *_ in changed)
    result.paid = [case for case, equal in _asked(verifier, changed) if equal]
    return result


def _sound(verifier: Verifier, gold: Gold, result: Measured) -> str | None:
    """The text that answers are compared with; what has none is noted."""
    problem = verifier.problem_of_gold(gold.answer)
    if problem is not None:
        result.bad.append((gold, problem))
        return None
    reason = verifier.only_text(gold.answer)
    if reason == "it is words":
        result.words += 1
    elif reason == "it is values with words around them":
        result.mixed += 1
    elif reason is not None:
        result.only_text.append((gold, reason))
    try:
        return plain(gold_text(gold.answer))
    except Unreadable as error:
        result.bad.append((gold, str(error)))
        return None


def plain(text: str) -> str:
    """Without the dollar signs or the point around everything, as a model would copy an answer into a box."""
    inside = text.strip().removesuffix(".").strip()
    whole = inside.startswith("$") and inside.endswith("$") and "$" not in inside[1:-1]
    return inside[1:-1].strip() if whole else text.strip()


def _asked(verifier: Verifier, cases: list[Case]) -> list[tuple[Case, bool]]:
    """Whether each response is called right; equal questions are asked once."""
    known: dict[tuple[str, str], bool] = {}
    pairs = [(str(gold.answer), response) for _, gold, response in cases]
    new = list(dict.fromkeys(p for p in pairs))
    for start in range(0, len(new), AT_ONCE):
        part = new[start : start + AT_ONCE]
        for pair, result in zip(part, verifier.verify_all(part), strict=True):
            known[pair] = result.verdict == "equal"
    return [(case, known[pair]) for case, pair in zip(cases, pairs, strict=True)]
