"""A goal in free text, read with a small table of English words. What was understood is said, and what was not too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

MEANINGS: Mapping[str, tuple[str, str]] = {
    "reward model": (
        "a reward model: scores for answers",
        r"reward[- ]models?|\brms?\b|preference model|scor(e|ing) (of )?answers|score model",
    ),
    "judge": (
        "a judge: which of two answers is better",
        r"\bjudg(e|es|ing)\b|\bgrader\b|compare answers|\bevaluator\b|pick the better",
    ),
    "shorter": (
        "shorter answers",
        r"\bshort(er|en)?\b|\bconcise(ly)?\b|\bbrief(er|ly)?\b|\bterse\b|less (verbose|wordy|text|tokens)|fewer "
            r"(tokens|words)"
        r"|\bverbos\w*|\brambl\w*|\btoo long\b|\boverthink\w*|think(ing)? less|\bcompact\b|to the point|\bcut "
            r"(the )?length",
    ),
    "longer": ("longer answers", r"\blonger\b|more (detail(ed)?|elaborate)|\bdetailed\b|in depth"),
    "safer": (
        "safer answers",
        r"\bsafe(r|ty|ly)?\b|\bharmless\w*|\bharm(ful)?\b|\brefus\w+|\btoxic\w*|\bjailbreak\w*|\babus\w+|\bdanger\w*",
    ),
    "reasoning": (
        "better reasoning, with answers that can be checked",
        r"\breason(s|ing)?\b|\bmath(s|ematics|ematical)?\b|\barithmetic\b|\bproofs?\b|\blogic(al)?\b|problem[- ]solving"
        r"|\bcod(e|ing)\b|\bprogram(s|ming|mes)?\b|\bpython\b|\balgebra\b|pass(ing)? (the |its |unit )?tests"
        r"|step[- ]by[- ]step|\bsums?\b|\bcalculat\w+|word problems?",
    ),
    "knowledge": (
        "knowing facts, or what documents say",
        r"\bknow(s|ledge|ing)?\b|\bfacts?\b|\bfactual\b|\bdocument(s|ation)?\b|\bup[- ]to[- ]date\b|\bour "
            r"(products?|manuals?|wiki|"
        r"company|handbook|policies|docs)\b|\bwiki\b|\bhandbook\b|\bmanuals?\b|\bcurrent "
            r"events\b|\bnews\b|\bprices\b|\bmemori[sz]e\b"
        r"|\blook up\b|\bcatalog(ue)?\b",
    ),
    "format": (
        "answers of a given form",
        r"\bjson\b|\bxml\b|\byaml\b|\bformat(ted|s|ting)?\b|\bmarkdown\b|\bschema\b|\bbullet\w*|\bstructured\b|"
        r"\b(always )?(start|end|begin)s? with\b|\bin (german|french|spanish|english|italian)\b",
    ),
    "style": (
        "another tone or style",
        r"\bton(e|ality)\b|\bstyle\b|\bpolite\w*|\bfriendl\w+|\bhelpful\w*|\bvoice\b|\bpersona(lity)?\b|\bempath\w+|\bformal\b"
        r"|\bwarm(er|th)?\b|\bprefer(red|ence|ences|s)?\b|\blike(d|s)?\b|\balign(ed|ment)?\b|\bquality\b",
    ),
    "cheap": (
        "little cost",
        r"\bcheap(er|ly|est)?\b|\bquick(ly)?\b|\blimited (compute|budget|time)\b|\blow "
            r"(budget|cost)\b|\bsimplest\b|\bsimple\b"
        r"|\bsmall budget\b|\bfast(er|est)?\b",
    ),
    "imitate": (
        "answers like the written ones",
        r"\bimitat\w+|\bmimic\w*|\bfollow(s|ing)? (instructions?|the examples)\b|\binstruct(ion)?[- "
            r"]?(tun\w+|follow\w+)?\b|\bfine[- ]?tun\w+"
        r"|\bsft\b|\bclone\b|\bcopy\b|\bdomain\b|\banswer like\b",
    ),
    "ppo": ("PPO with a reward model", r"\bppo\b|\brlhf\b"),
}  # fmt: skip
"""Name of a goal -> (what it is understood as, the words that say it)."""
NEGATED = re.compile(
    r"(\b(not(?! only)|no|without|don'?t|never|isn'?t|nothing)|rather than|instead of)\b"
    r"(?:[ \t-]+(?!but\b|rather\b|instead\b|however\b|yet\b)[\w'-]+){0,2}[ \t-]*$",
    re.IGNORECASE,
)
"""Before a word, what turns it round."""
COMPLAINTS = re.compile(r"verbos|rambl|too long|overthink|wordy|harm(ful)?$|toxic|jailbreak|abus|danger", re.IGNORECASE)
"""Words for what is too much: with and without a `not` before them they ask for less of it."""
TARGET = re.compile(
    r"(\d+(?:[.,]\d+)?)\s*(?:%|per ?cent|percent)|\b(?:accuracy|pass[- ]?rate|score|rate)\D{0,20}?(0?\.\d+)\b",
    re.IGNORECASE,
)
FILLERS = frozenset(
    [
        "a",
        "an",
        "the",
        "and",
        "or",
        "of",
        "to",
        "in",
        "on",
        "for",
        "with",
        "by",
        "is",
        "are",
        "be",
        "been",
        "i",
        "we",
        "you",
        "it",
        "they",
        "my",
        "our",
        "your",
        "its",
        "this",
        "that",
        "these",
        "those",
        "want",
        "wants",
        "need",
        "needs",
        "would",
        "should",
        "could",
        "can",
        "will",
        "make",
        "makes",
        "making",
        "made",
        "model",
        "models",
        "llm",
        "answers",
        "answer",
        "answering",
        "responses",
        "response",
        "reply",
        "replies",
        "get",
        "gets",
        "getting",
        "have",
        "has",
        "more",
        "most",
        "less",
        "better",
        "best",
        "improve",
        "improved",
        "improving",
        "good",
        "well",
        "very",
        "really",
        "just",
        "please",
        "as",
        "at",
        "from",
        "into",
        "than",
        "then",
        "so",
        "but",
        "if",
        "when",
        "how",
        "what",
        "which",
        "who",
        "all",
        "any",
        "some",
        "do",
        "does",
        "did",
        "give",
        "gives",
        "giving",
        "train",
        "training",
        "trained",
        "get",
        "use",
        "using",
        "used",
        "let",
        "help",
        "helps",
        "teach",
        "teaching",
        "learn",
        "learns",
        "user",
        "users",
        "people",
        "only",
        "also",
        "about",
        "least",
        "too",
        "not",
        "no",
        "at",
        "over",
        "up",
        "under",
        "without",
        "like",
        "write",
        "writes",
        "writing",
        "output",
        "outputs",
        "me",
        "us",
        "them",
        "reach",
        "accuracy",
        "score",
        "rate",
        "pass",
        "percent",
        "per",
        "cent",
        "new",
        "small",
        "large",
        "few",
        "many",
        "bit",
        "lot",
        "on",
        "one",
        "ones",
        "instead",
        "rather",
        "never",
        "two",
        "be",
        "being",
        "keep",
        "keeps",
        "stay",
    ]
)
"""Words that say nothing of a goal."""


@dataclass(frozen=True)
class Goal:
    """What was asked for."""

    text: str = ""
    names: tuple[str, ...] = ()
    """Of `MEANINGS`."""
    refused: tuple[str, ...] = ()
    """Understood as not wanted."""
    target: float | None = None
    """A share of right answers that would be enough."""
    unread: tuple[str, ...] = ()
    """Words that were not understood."""

    def has(self, *names: str) -> bool:
        return bool({*names} & {*self.names})

    @property
    def understood(self) -> str:
        said = [MEANINGS[name][0] for name in self.names]
        said += [f"not {MEANINGS[name][0]}" for name in self.refused]
        said += [f"a target of {self.target:.0%}"] if self.target is not None else []
        return "; ".join(said)


def goal_of(text: str | None) -> Goal:
    """Read a goal. Nothing of it is passed over in silence: what no row of the table knows is `unread`."""
    if not text or not text.strip():
        return Goal()
    wanted: list[str] = []
    refused: list[str] = []
    left = text
    for name, (_, pattern) in MEANINGS.items():
        for match in re.finditer(pattern, text, re.IGNORECASE):
            turned = NEGATED.search(text[: match.start()]) and not COMPLAINTS.match(match.group())
            list_of = refused if turned else wanted
            if name not in list_of:
                list_of.append(name)
            left = left.replace(match.group(), " ")
    target, match = None, TARGET.search(text)
    if match:
        target = float(match.group(1).replace(",", ".")) / 100 if match.group(1) else float(match.group(2))
        target = target if 0 < target <= 1 else None
        left = left.replace(match.group(), " ")
    words = re.findall(r"[^\W\d_][\w'-]*", left)
    unread = tuple(dict.fromkeys(word for word in words if word.casefold() not in FILLERS and len(word) > 1))
    return Goal(text.strip(), tuple(wanted), tuple(name for name in refused if name not in wanted), target, unread)
