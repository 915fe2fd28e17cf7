"""The words around an answer that take it back, put another beside it, or only quote it."""

from __future__ import annotations

import re

REVISED = re.compile(
    r"\b(?:no|wait|actually|finally|final|instead|mistake|wrong|incorrect|sorry|rather|oops|correct(?:ed|ion|ing)?"
    r"|scratch|should be|re-?check(?:ing|ed)?|redo|revised?)\b",
    re.IGNORECASE,
)
"""Between two answers: the later one replaces the earlier one."""
_BEFORE, _AFTER = 120, 200
"""Characters on both sides that are read."""
_OPENING = r"[\s$(*_`{\"'“]|\\[(\[]|\\text\s*\{|\\,"
_CLAIM = r"(?:the|our|my|your|a|an|its|final|correct|right|answer|result|value|number|option|choice|it|is|be|that|this)"
_DENIED = re.compile(
    r"(?:\b(?:not|never|neither|nor|cannot|rather\s+than|instead\s+of|other\s+than|except|unlike|excluding|far\s+from"
    r"|(?:different|apart|aside)\s+from|(?:anything|everything|(?:any|each|every|all|no)\s+(?:\w+\s+)?)\s*but|no\s+longer|versus|definitely\s+not)"
    r"|n['’]t|(?<=[\w)}$]\s)\b(?:less|greater|more|fewer|smaller|larger|bigger|higher|lower)\s+than)"
    r"(?:\s+(?:for|be|equals?|equal\s+to|to|simply|just))*"
    rf"(?:\s+{_CLAIM})*(?:{_OPENING})*$"
    r"|\b(?:answer|result)\s*(?:is|:)?\s*(?:at\s+(?:most|least)|between|over|under|above|below|up\s+to|one\s+of)"
    rf"(?:{_OPENING})*$"
    r"|\b(?:(?:do(?:es)?|did|would|could|can)\s*(?:n['’]t|not)\s+(?:\w+\s+)?(?:think|believe|say|claim|know|mean|agree)"
    r"|cannot\s+(?:say|claim)|doubt|deny|denies|disagree|unlikely|untrue|false|impossible|absurd|pretend|imagine"
    r"|(?:not|n['’]t)\s+(?:\w+\s+)?(?:true|likely|possible|the\s+case|right|correct)"
    r"|(?:wrong|incorrect|mistaken|mistake|nonsense)\s+(?:to|that|if|answer|result|value|option|choice)"
    r"|if\s+(?:you|we|I|they|one)\s+(?:want|ask|wanted|asked|say|said|insist|must|were|answer|answered)"
    r"|(?:if|suppose|supposing|assume|assuming|unless|whether|were|had)\s+(?:that\s+)?"
    r"(?:the|our|my|your|its|it|this|that|final|correct|answer|result|value)"
    r"|(?:e\.g\.|i\.e\.,?\s+not|for\s+(?:example|instance)|such\s+as|examples?\s+(?:is|are|of|:))"
    r"|(?:(?:mistake|error|misconception|trap|pitfall|distractor|lie|joke)s?|fallacy|fallacies)\s+(?:is|was|are|would\s+be)"
    r"|(?:trap|tempting|decoy|fake|naive)\s+(?:answer|result|value|option|choice|response)"
    r"|(?:is|are|was)\s+(?:wrong|incorrect|invalid)\s*(?=:))"
    rf"(?:,|:)?(?:\s+[\w'’]+){{0,5}}\s*:?(?:{_OPENING})*$"
    r"|\b(?:wrong|incorrect|mistaken|trap|tempting|decoy|fake|naive)\s+$"
    r"|\b(?:nobody|no\s+one|none\s+of\s+\w+|hardly\s+anyone)\b"
    r"(?:(?!\b(?:except|but|other)\b)[^.!?\n]){0,80}$",
    re.IGNORECASE,
)
"""Right before an answer: it is not said to be the answer."""
_QUOTING = re.compile(
    r"\b(?:says?|said|saying|writes?|written|wrote|write|prompt|instructions?|instructed|example|form(?:at)?|template"
    r"|such\s+as|like|asks?|asked|told|phrase|line|sentence|question|claims?|claimed|thinks?|answers?|answered"
    r"|respond\w*|repl(?:y|ies|ied))\b[^\"“\n]{0,30}[\"“«][^\"”»\n]{0,80}$",
    re.IGNORECASE,
)
"""Right before an answer: a quotation that began and is not over."""
_TAKEN_BACK = re.compile(
    r"[^.!?\n]{0,80}\?|[\s$)*_`\\\]}.,'\"”:]{0,8}(?:"
    r",?\s*(?:(?:which|that|this|it)\s*)?(?:is|was|are|would\s+be|seems?|looks?|must\s+be|['’]s)\s+"
    r"(?:(?:definitely|clearly|certainly|also|obviously|just|simply|of\s+course)\s+)?"
    r"(?:wrong|incorrect|false|impossible|untrue|mistaken|(?:a|an|the)\s+(?:(?:common|typical|usual|classic|frequent|tempting)\s+)?(?:mistake|error|trap|distractor|lie|joke|wrong|incorrect)"
    r"|not\s+(?:right|correct|possible|true|valid|it|what|the\s+(?:answer|right|correct|final|solution|value|result)"
    r"|an?\s+(?:answer|solution)))"
    r"|\s*(?:is|was|are)\s+(?:not|never|ruled\s+out|excluded)\b|\s*(?:is|was)n['’]t\b"
    r"|\s*(?:cannot|can['’]t|won['’]t|(?:can|could|would|should|will|does|did)\s*(?:not|n['’]t))\b|\s*fails\b"
    r"|,?\s*(?:if\s+not|unless)\b"
    r"|\(?(?:no|nope|nah|not|false|wrong|incorrect|untrue|invalid|rejected|not\s+really|lies?|joke|i\s+(?:was\s+)?l(?:ied|ying))"
    r"(?=\s*(?:[.!)]|$|\n))|(?:just\s+)?kidding\b|just\s+joking\b|psych\b|or\s+so\s+(?:\w+\s+){1,3}think)",
    re.IGNORECASE,
)
"""Right after an answer."""
_WITHDRAWN = re.compile(
    r"(?<!if )(?<!whether )(?<!case )(?<!think )(?<!unless )"
    r"\b(?:(?:that|this|it|which|my\s+(?:final\s+)?answer|the\s+answer|the\s+above)(?:['’]s|\s+is|\s+was|\s+seems|\s+must\s+be)\s+"
    r"(?:\w+\s+)?(?:wrong|incorrect|mistaken|not\s+(?:right|correct|true|valid|the\s+answer))"
    r"|i\s+(?:\w+\s+)?made\s+(?:a|an|some)\s+(?:\w+\s+)?(?:mistake|error)|scratch\s+that|i\s+take\s+(?:that|it)\s+back"
    r"|(?:disregard|ignore|forget)\s+(?:that|this|my|it|the\s+above))\b",
    re.IGNORECASE,
)
"""Anywhere after an answer."""
_MAYBE = (
    r"(?:(?:maybe|perhaps|possibly|alternatively|else|even|rather|equivalently|potentially|conceivably|otherwise|just"
    r"|(?:it|this|that|the\s+answer)?\s*(?:could|might|may|can)(?:\s+(?:also|even|well|instead))*\s+be)\s+)*"
)
_VALUE = (
    r"(?P<value>\$(?!\\(?:black)?[sS]quare|\\checkmark|\\Box|\\qed)[^$\n]{1,80}\$|\\\((?:[^\\\n]|\\(?!\))){1,80}\\\)|\\boxed\s*\{[^{}\n]{1,40}\}"
    r"|\$\$[^$]{1,80}\$\$|\(?(?-i:[A-J])\)?(?![\w'])|[-−+]?\\?\$?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+)?\\?%?|\\[dt]?frac\s*\{?\w+\}?\s*\{?\w+\}?)"
)
_OR = r"(?:\bor\b|\bmaybe\b|\bperhaps\b|\bpossibly\b|\balternatively\b|\botherwise\b|\bunless\b|\blor\b|\bvee\b)"
_OR_BEFORE = re.compile(
    rf"{_VALUE}[\s$)}}*_]*,?\s*(?:\(|\\text\s*\{{)?\s*\bor\b[\s,}}]*{_MAYBE}(?:{_OPENING})*$", re.IGNORECASE
)
_OR_AFTER = re.compile(
    rf"[\s$.,;)*_`\\\]}}?\"'”’—–-]{{0,8}}(?:\(|\\text\s*\{{)?\s*(?:{_OR}|(?:but|however|though|although|yet)\b,?\s+(?=(?:it|this|the)\b)|(?=(?:could|might|may)\b))"
    rf"[\s,:}}]*{_MAYBE}(?:\\text\s*\{{[^{{}}]*\}}\s*)?[\s$(*_\"'“‘]*{_VALUE}",
    re.IGNORECASE,
)
_LISTED_AFTER = re.compile(
    rf"[\s$)*_}}.,;|&/]{{0,8}}(?:\(|(?:and|but|though)\b)?\s*(?:and\s+)?[\s$(*]*{_VALUE}[\s)$*]*"
    r"(?:(?=[;|,\n]|\.?\s*$|\.\s*\n|\.\s+[-\d$\\])|\b(?:also|too|as\s+well)\b|\b(?:is|are|would)\s+also\b)",
    re.IGNORECASE,
)
"""After an answer: ", 8" and nothing more, or "and 8 also works"."""
_INSTEAD = re.compile(
    rf"\b(?:wait|no|i\s+mean|actually|oops|correction|sorry|hmm|hold\s+on|scratch|so\s+(?:is|are|does))\b(?:[\s,:—-]*"
    rf"|[^.\n]{{0,40}}?\b(?:is|be|equals|was)\s+)(?:{_OPENING})*{_VALUE}",
    re.IGNORECASE,
)
"""After an answer: "No, wait, it is 8"."""
_ELSEWHERE = re.compile(
    r"\b(?:to|of|for|in)\s+(?:an?|the|some|my)?\s*(?:different|another|other|previous|earlier|similar|related)\s+"
    r"(?:problem|question|exercise|task|example|puzzle)\b[^.!?\n]*$",
    re.IGNORECASE,
)
"""Before the value of an answer: it is one to something else."""
_TRIGGERS = frozenset((
    "not", "never", "neither", "nor", "cannot", "rather", "instead", "other", "except", "unlike", "excluding", "far",
    "different", "apart", "aside", "but", "longer", "versus", "t", "than", "most", "least", "about", "between",
    "over", "under", "above", "below", "almost", "up", "one", "doubt", "deny", "denies", "disagree", "unlikely",
    "untrue", "false", "impossible", "absurd", "pretend", "imagine", "wrong", "incorrect", "mistaken", "mistake",
    "nonsense", "if", "suppose", "supposing", "assume", "error", "errors", "mistakes", "misconception", "trap",
    "pitfall", "fallacy", "distractor", "lie", "joke", "traps", "pitfalls", "fallacies", "distractors", "lies", "jokes",
    "misconceptions", "tempting", "decoy", "fake", "naive", "invalid", "nobody",
    "none", "no", "hardly", "another", "previous", "earlier", "similar", "related", "assuming", "unless", "whether",
    "were", "had", "e", "example", "instance", "such", "examples",
))  # fmt: skip
"""Words without which nothing before an answer denies it: a set is faster than the pattern."""
_PLAIN_WORDS = re.compile("[a-z]+")


def denied(text: str, start: int, end: int) -> bool:
    """Whether what stands from `start` to `end` is denied, supposed, asked, quoted or taken back."""
    before = text[max(0, start - _BEFORE) : start]
    telling = not _TRIGGERS.isdisjoint(_PLAIN_WORDS.findall(text[max(0, start - _BEFORE) : end].lower()))
    if (telling and _DENIED.search(before)) or (('"' in before or "“" in before) and _quoted(text, start, end)):
        return True
    if telling and _ELSEWHERE.search(text[max(0, start - _BEFORE) : end]):
        return True
    after = text[end : end + _AFTER]
    return bool(after.strip(" \n$.")) and bool(_TAKEN_BACK.match(after) or _WITHDRAWN.search(after))


def _quoted(text: str, start: int, end: int) -> bool:
    line = text.rfind("\n", 0, start) + 1
    before = text[max(line, start - _BEFORE) : start]
    closed = re.search(r"[\"”»]", text[end : end + 40])
    return bool(closed and _QUOTING.search(before) and before.count('"') % 2 == (1 if "“" not in before else 0))


def beside(text: str, start: int, end: int) -> list[str]:
    """Other answers that the words around one put beside it: "7 or ...", "... or maybe 7", "... No, it is 7"."""
    before, after = text[max(0, start - _BEFORE) : start], text[end : end + _AFTER]
    found = [_OR_BEFORE.search(before) if "or" in before or "OR" in before else None]
    if after.strip(" \n$."):
        found += [_OR_AFTER.match(after), _LISTED_AFTER.match(after), _INSTEAD.search(after)]
    return [match.group("value") for match in found if match]
