"""Answers that sentences and headings say: "the answer is 5", "### Answer", "5 is the answer", "so there are 5"."""

from __future__ import annotations

import re

from postlude.maths import hedges
from postlude.maths.places import MOST, Extraction, Place, settle
from postlude.maths.unit_table import CURRENCIES

REACH = 400
"""Characters of an answer at most."""
_IS = (
    r"(?:\s+(?:to|for|of|in|we|I|you|that|therefore|thus|then|here|now|,)\b[^.:=\n]{0,60}?)??"
    r"(?:[ \t]*(?::|：|=|\||[-–—]\s)|\s*(?:\bis\s*(?::|：|=)|\b(?:is|was)\b(?:\s+that\b)?"
    r"|\b(?:would|must|should|will)\s+be\b|\bequals\b"
    r"|\b(?:comes|turns|works)\s+out\s+(?:to\s+be|to|at|as)\b|\bcomes\s+to\b|\bto\s+be\b|['’]s\b))"
)
_LABEL = re.compile(
    r"(?<!wrong )(?<!incorrect )(?:"
    r"(?<![A-Za-z])(?:final\s+)?(?:answers?|results?|ans)[.\"']?[ \t]*(?:\([^()]{0,40}\)[ \t]*)?(?:[*_]{1,3}[ \t]*)?"
    rf"{_IS}"
    rf"|\b(?:correct|right|best|final|chosen)\s+(?:option|choice|letter|value|solution)\s*(?:[*_]{{1,3}}\s*)?{_IS}"
    r"|(?:^|(?<=\n))[ \t*_#>]*(?:final\s+)?answer[*_ \t]*(?:→|[-=]>)?[ \t]*[*_]*[ \t](?=[-\d$\\(])"
    r"|(?<![A-Za-z])ans\.(?:[*_ \t]|~)*(?=[-−+\d$\\(])"
    r"|(?:^|(?<=\n))[ \t*_#>]*solution[*_]*:[*_ \t]*(?=[^\n]{1,40}(?:\n|$))"
    r"|\bI\s+(?:would\s+|will\s+|therefore\s+)?(?:choose|pick|select|go\s+with)\b|\bI['’](?:d|ll)\s+(?:choose|pick|select|go\s+with)\b"
    r"|(?:故|应|所以|因此|答案)选|(?:^|(?<=\n))选"
    r"|(?:答案|答|结果)\s*(?:应该|应当|应)?\s*(?::|：|是|为|為|等于)"
    r"|\b(?:respuesta|réponse|resposta|risposta|antwort|solución|ответ)\s*(?:final|finale|correcta|correcte)?\s*"
    r"(?::|=|—|-|\b(?:es|est|ist|lautet|é|è)(?=[\s:]))"
    r"|(?:答え|正解)\s*(?:は|:|：)|(?:정답|답)\s*(?:은|:|：)"
    r")\s*(?::|：)?\s*(?:[*_]{1,3}\s*)?",
    re.IGNORECASE,
)
_HEADING = re.compile(
    r"^[ \t>#*_]*(?:the\s+)?(?:(?:final|correct|my|our|short)\s+)*(?:answers?|ans|results?|答案|最终答案|最終答案)"
    r"[ \t*_:：#]*\n(?:\s*[-=*_]{3,}[ \t]*\n)?\s*",
    re.IGNORECASE | re.MULTILINE,
)
_REVERSED = re.compile(
    r"[\s$)*_](?:is|was|must\s+be)\s+(?:(?:therefore|thus|then|indeed|hence|,)\s*)*"
    r"(?:(?:the|our|my|an?)\s+)?(?:(?:final|correct|right|best|required|desired)\s+)*"
    r"(?:answer|result|option|choice|correct|right)\b(?!\s+(?:only|if|unless|or)\b)",
    re.IGNORECASE,
)
_CLAUSE_START = re.compile(
    r"(?:[.!?:;]\s|(?<=[a-z]),\s|\n|\b(?:so|thus|therefore|hence|that|and|then|means|gives|get|see|option|choice|letter)\s)(?!\w*\}\})",
    re.IGNORECASE,
)
_ENDS = re.compile(
    r"\n|(?<![\d\s.])\.(?=\s|$)|(?<=\d)\.(?=\s|$)|[!?](?=\s|$)(?<=\s.)|\?|。|；|，|！|<\||</"
    r"|(?<=[\w)}$.])[\"”»](?=[\s.,;!?]|$)"
    r"|,?\s+(?:because|since|which|where|so that|as we|as required|as desired|therefore|thus|hence)\b"
    r"|,?\s+(?:after|when)\b(?!\s+(?:(?:it|this)\s+is\s+)?\w+ed\b)"
    r"|,\s+(?:so|as|not|and not|in which|giving|making|it|he|she|they|we|I|you|this|that|there)\b"
)
_INTRODUCES = re.compile(
    r"^(?:(?:equal to|simply|just|therefore|thus|then|exactly|(?:given|denoted) by|found to be|indeed|clearly"
    r"|the number|the value|(?:the\s+)?(?:correct\s+)?(?:option|choice|letter)|that)\s+)+"
    r"(?!is\b|of\b|\w+\s+(?:is|are|of)\b)",
    re.IGNORECASE,
)
_REMARK = re.compile(
    r"\s*\((?:rounded|rounding|approximately|to\s+(?:the\s+nearest|\w+\s+(?:decimals?|significant|d\.?p|s\.?f|places))"
    r"|correct\s+to|since|because|as\b|using|by\b|answer|final|see\b|verified|checked|simplified)(?![^()]*\b(?:or|not|maybe)\b)"
    r"[^()]*\)\s*$",
    re.IGNORECASE,
)
_TRAILING = re.compile(
    r"(?<=[\w$)}])\s+(?:in\s+(?:total|all)|altogether|overall|left(?:\s+over)?|remaining|now|so\s+far"
    r"|(?:every|each)\s+(?:day|week|month|year|hour|one|time)|of\s+(?:them|these|those))$",
    re.IGNORECASE,
)
_VERB = re.compile(
    r"(?P<subject>.*\S)\s+(?:is|are|was|were|equals|equal|be|makes?|gives?|yields?|becomes?|leaves|totals|sums\s+to"
    r"|(?:comes?|adds?\s+up|amounts?|evaluates|simplifies|reduces|boils\s+down|works\s+out|turns?\s+out)\s+(?:out\s+)?to(?:\s+be)?)"
    r"\s+(?:(?:equal\s+to|exactly|just|simply|only|therefore|thus|then|always|indeed)\s+)*(?P<value>\S.*)",
    re.IGNORECASE | re.DOTALL,
)
_HAS = re.compile(
    r"(?P<subject>.*\S)\s+"
    r"(?:has|have|had|costs?|needs?|gets?|earns?|pays?|makes?|made|takes?|spends?|saves?|can|left|total)\s+(?:\w+\s+){0,3}?"
    r"(?P<value>[-−$\\\d].*)",
    re.IGNORECASE | re.DOTALL,
)
_EQUATION = re.compile(
    r"(?P<subject>(?:so|thus|therefore|hence|then|finally|we\s+\w+\s+that|it\s+follows\s+that|we\s+(?:get|have|obtain|find))"
    r"\b.*?[\s,:])(?P<value>[A-Za-z]\w?\s*=\s*[^=\s].*)",
    re.IGNORECASE | re.DOTALL,
)
_CHINESE = re.compile(r"(?P<subject>[^.]*[\u4e00-\u9fff])(?<!不)[是为]\s*(?P<value>[-−$\\\d].*)", re.DOTALL)
_STARTS_VALUE = re.compile(
    rf"[-−+]?\s*[\d$\\(\[{{.|√π∞{''.join(sorted(CURRENCIES))}]|[A-Za-z]\)?\s*(?:$|[=_^(+*/:.-])"
    r"|(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_OPEN_QUESTION = re.compile(
    r"\b(?:not|never|cannot|if|whether|unless|could|might|may|maybe|perhaps|suppose|assume|assuming|either|neither|nor"
    r"|wrong|incorrect|let|but|since|because|when|where|while|although|though|until|before|after|what|which|how|find"
    r"|compute|does|did|do|says?|said|told|knows?|known|target|goal|step|claims?|thinks?|guess|than|except|given|or|number\s+like|like|example|earlier)\b|n['’]t|\?",
    re.IGNORECASE,
)
"""Words with which a sentence does not say what is so."""
_UNSURE = re.compile(r"\b(?:not|cannot|but|maybe|perhaps|if|unless|though|although)\b|n['’]t", re.IGNORECASE)
_GIVES_UP = re.compile(
    r"\b(?:I|we)\s+(?:do\s+not|don['’]t|cannot|can['’]t|could\s+not|couldn['’]t)\s+(?:know|say|tell|determine|decide|solve|find)\b",
    re.IGNORECASE,
)
_PLEASANTRY = re.compile(
    r"(?:I\s+hope|Hope|Let\s+me\s+know|Please|Feel\s+free|Done|Q\.?E\.?D|Is\s+there|Do\s+you|Would\s+you|Thanks?)\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z$\\(])")
_FENCE = re.compile(r"```\w*[ \t]*\n?(.*?)\n?```\s*", re.DOTALL)
_DISPLAY = re.compile(r"\s*(?:\$\$(.+?)\$\$|\\\[(.+?)\\\])", re.DOTALL)
_BESIDE = re.compile(r"[ \t]*(?:,[ \t]*\S|\b(?:or|and)\b|\$)", re.IGNORECASE)
_INLINE = re.compile(r"</?(?:b|i|em|strong|u|span|p)>", re.IGNORECASE)
_BULLET = re.compile(r"[-*+•]\s+")


def stated(text: str) -> Extraction | None:
    """What the last label, heading or "... is the answer" says."""
    places = sorted(
        {p.start: p for p in (*_headed(text), *_labelled(text), *_reversed(text))}.values(), key=lambda p: p.end
    )
    if not places:
        return None
    last = places[-1]
    if last.text is None or hedges.denied(text, last.start, last.end):
        return Extraction(None, "an answer that is not stated")
    return settle(text, [p for p in places if p.text is not None], "stated")


def _labelled(text: str) -> list[Place]:
    found: list[Place] = []
    for match in list(_LABEL.finditer(text))[-MOST:]:
        tail = text[match.end() : match.end() + REACH]
        answer, length = block(tail) if match.group().endswith("\n") else sentence(tail)
        if re.match(r"(?:not|never|neither|none of)\b", answer, re.IGNORECASE):
            answer = ""
        found.append(Place(match.start(), match.end() + length, answer or None, ""))
    return found


def _headed(text: str) -> list[Place]:
    found: list[Place] = []
    for match in list(_HEADING.finditer(text))[-MOST:]:
        answer, length = block(text[match.end() : match.end() + REACH])
        found.append(Place(match.start(), match.end() + length, answer or None))
    return found


def _reversed(text: str) -> list[Place]:
    found: list[Place] = []
    for match in list(_REVERSED.finditer(text))[-MOST:]:
        low = max(0, match.start() - 80)
        before = text[low : match.start() + 1]
        start = max((m.end() for m in _CLAUSE_START.finditer(before)), default=0)
        value = before[start:].strip(" *_")
        if _STARTS_VALUE.match(value):
            found.append(Place(low + start, match.end(), value))
    return found


def sentence(text: str) -> tuple[str, int]:
    """An answer up to where its sentence ends, without Markdown and the words that introduce it; the length read."""
    lead = len(text) - len(text.lstrip())
    text = text.lstrip()
    display = _DISPLAY.match(text)
    if display and not _BESIDE.match(text[display.end() :]):
        return (display.group(1) or display.group(2)).strip(), lead + display.end()
    end = _ENDS.search(text)
    length = end.start() if end else len(text)
    return bare(text[:length]), lead + length


def bare(text: str) -> str:
    """An answer without Markdown, introducing words and remarks; of "the largest n is 34" the value."""
    text = _INLINE.sub("", text.replace("**", "").replace("__", "")).strip(' *`\t"“”')
    if text.count("|") % 2:  # a cell of a table; two are an absolute value
        text = text.strip("| \t")
    if text.endswith("}") and "{" not in text:  # of {"answer": 5}
        text = text.rstrip('}" ')
    text = _TRAILING.sub("", _REMARK.sub("", _INTRODUCES.sub("", text)))
    return said(text) or text


def said(text: str) -> str | None:
    """What a sentence of a subject, a verb and a value says; None where it is no such sentence."""
    match = next((m for p in (_VERB, _EQUATION, _HAS, _CHINESE) for m in [p.fullmatch(text)] if m), None)
    if not match:
        return None
    subject, value = match.group("subject"), match.group("value").strip(" 。")
    if (
        _OPEN_QUESTION.search(subject)
        or _UNSURE.search(value)
        or not _STARTS_VALUE.match(value)
        or len(_WORD.findall(value)) > 5
    ):
        return None
    if not _WORD.search(subject) and not re.search(r"[^\x00-\x7f]", subject):
        return f"{subject} = {value}"
    value = _TRAILING.sub("", value)
    *worked, result = value.split("=")
    return result.strip() if worked and _WORD.search(result) and not _WORD.search("".join(worked)) else value


def block(text: str) -> tuple[str, int]:
    """An answer that stands below its heading: a line, or several that are parts or members of it; the length read."""
    for pattern in (_FENCE, _DISPLAY):
        match = pattern.match(text)
        if match and not _value_follows(text[match.end() :]):
            inside = next(g for g in match.groups() if g is not None).strip()
            return (lines(inside) if pattern is _FENCE else inside), match.end()
    found: list[str] = []
    length = place = 0
    for line in text.splitlines(keepends=True):
        clean = _BULLET.sub("", line.strip(" \t\n>|"), count=1).strip("*_` ")
        place += len(line)
        if not clean.strip("-=*_#"):
            if found and line.strip():
                break
            continue
        if found and not found[-1].endswith(":") and not _looks_like_value(clean):
            break
        if found and found[-1].endswith(":"):
            found.clear()
        found.append(clean)
        length = place - (line[-1:] == "\n")
    return joined(found), length


def _value_follows(text: str) -> bool:
    line = text.strip().partition("\n")[0]
    return _looks_like_value(line) and not _PLEASANTRY.match(line)


def _looks_like_value(line: str) -> bool:
    return bool(re.search(r"[\d$\\]|^\W*[A-Za-z]\W*$", line)) and len(_WORD.findall(line)) <= 3


def lines(text: str) -> str:
    """The whole text as an answer: its lines are members of a list, unless LaTeX goes over several."""
    text = text.strip()
    if "\n" not in text:
        return bare(text)
    if "\\begin" in text or _DISPLAY.fullmatch(text):
        return text
    return joined([line.strip() for line in text.splitlines() if line.strip()])


def joined(found: list[str]) -> str:
    """Lines as one answer: parts and members after each other."""
    if len(found) == 1:
        answer, _ = sentence(found[0])
        return answer
    return ", ".join(line.rstrip(",;. ") for line in found)


def closing(text: str) -> Extraction | None:
    """The last sentence, where it says a value: "15 + 4 equals 19", "so there are 5 apples"."""
    paragraphs = text.strip().splitlines()
    if not paragraphs:
        return None
    line = paragraphs[-1]
    if len(line) > REACH:
        line = line[-REACH:].partition(". ")[2]
    sentences = [s for s in _SENTENCE.split(line.strip()) if s]
    while len(sentences) > 1 and _PLEASANTRY.match(sentences[-1]):
        sentences.pop()
    if not sentences or sentences[-1].endswith("?"):
        return None
    last = sentences[-1]
    if _GIVES_UP.search(text[-REACH:]):
        return None
    value = said(_REMARK.sub("", last.replace("**", "").strip(" *_`>").rstrip(".!").strip()))
    if value is None:
        return None
    start = text.rfind(last)
    return settle(text, [Place(start, start + len(last), value)], "last sentence")
