"""What runs log and errors carry: figures, error codes, findings in data, sections of the check."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from postlude.explain import places
from postlude.explain.home import Home, plain
from postlude.facts.topic import Topic
from postlude.words import closest


def _figure_names() -> Sequence[str]:
    from postlude.runs.figures import BARE, JUDGED, PREFIXES, TIMED

    more = (prefix.name + name for prefix in PREFIXES for name in prefix.figures if name not in BARE)
    return (*BARE, *JUDGED, *TIMED, *more)


def _figures_meant(asked: str) -> Iterable[str]:
    """A name as a run has it: with a prefix, with its places filled in; where a prefix does not fit, those that do."""
    from postlude.runs.figures import LOGGED, PREFIXES, lookup

    name = asked.strip().strip("`'\"?")
    if lookup(name) is not None or (name.startswith(LOGGED) and name != LOGGED):
        return [name]
    bare = next((name.removeprefix(prefix.name) for prefix in PREFIXES if name.startswith(prefix.name)), None)
    if bare is None:
        return []
    return [there for there in (*(prefix.name + bare for prefix in PREFIXES), bare) if lookup(there) is not None]


def _figure(name: str) -> Topic:
    from postlude.runs.figures import lookup
    from postlude.runs.figures.figure import Better

    figure = lookup(name)
    if figure is None:
        return _of_a_reward(name)
    ways: dict[Better, str] = {"up": "Better when it rises.", "down": "Better when it falls.", "neither": ""}
    bare = name if name in _figure_names() else _bare(name)
    near = closest(name, _figure_names()) if name not in _figure_names() else None
    return Topic(
        name=name,
        title=figure.label,
        kind="figure",
        meaning=f"{_sentence(figure.meaning)} {ways[figure.better]}".strip(),
        unit=figure.unit,
        formula=figure.formula,
        healthy=figure.healthy,
        source=_source(figure.source),
        place=_logged_at(bare),
        see=tuple(n for n in (bare, near) if n and n != name),
        shows=("postlude train RECIPE (the live view)",) if "/" not in name else (),
    )


def _of_a_reward(name: str) -> Topic:
    """Of a figure that a reward of the user's named."""
    return Topic(
        name=name,
        title="logged by a reward of yours",
        kind="figure",
        meaning="What a reward of yours logs (log_metric) under a name that was taken: it stands under logged/. What "
        "it means is said in your function.",
        formula="the mean over the answers that it logged it for",
        source="docs/rewards.md",
        place="runs/figures/__init__.py:LOGGED",
        see=("reward",),
    )


def _bare(name: str) -> str:
    """The row of the table that a logged name is of."""
    from postlude.runs.figures import BARE, PREFIXES, entry_of

    for prefix in PREFIXES:
        if name.startswith(prefix.name):
            return entry_of(prefix.figures, name.removeprefix(prefix.name)) or name
    return entry_of(BARE, name) or name


def _logged_at(name: str) -> str:
    """Where a figure comes about: what writes its name, whole or without the part before a slash."""
    parts = name.split("/")
    tails = ["/".join(parts[i:]) for i in range(len(parts))]
    texts = [f'"{name}"', *(f'"{lead}/{tail}"' for tail in tails for lead in ("pair", "sequence", "token", "update"))]
    texts += [f'f"{parts[0]}/{{'] if len(parts) > 1 else []
    texts += [f'/{tail}"' for tail in tails[1:]] + [f'"{tail}"' for tail in tails[1:]]
    if "{" in name:
        texts = [f'f"{name.partition("{")[0]}{{', f'"{name.partition("{")[0]}']
    written = [place for text in texts for place in places.written_in(text)]
    if written:
        return next((place for place in written if place.startswith(places.MAKERS)), written[0])
    in_words = [f'"{parts[-1].replace("_", " ")}"', f'"{parts[0]}"']
    return next(place for text in in_words for place in places.written_in(text, readers=True))


def _source(text: str) -> str:
    return f"docs/specification.md, {text}" if text.startswith("section") else text


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?", "!")) else text + "."


FIGURES = Home("figure", "figures of a run", _figure_names, _figure, _figures_meant)


def _code_names() -> Sequence[str]:
    from postlude.codes import CODES

    return tuple(CODES)


def _code(name: str) -> Topic:
    from postlude.codes import CODES, GROUPS

    group = next((title for title, codes in GROUPS.items() if name in codes), "Everything else")
    raised = places.written_in(f'"{name}"')
    return Topic(
        name=name,
        title=CODES[name],
        kind="error code",
        meaning=f"{CODES[name]} ({group}.)",
        use="The error's own sentence names the place (file, line, key), what was seen there and what to do; this code "
        "is the kind, for programs and for looking it up.",
        source="docs/errors.md",
        place="; ".join(raised[:3]) or None,
    )


CODES = Home("error code", "error codes", _code_names, _code)


def _finding_names() -> Sequence[str]:
    from postlude.screening.findings import KINDS

    return tuple(KINDS)


def _finding(name: str) -> Topic:
    from postlude.screening.findings import KINDS

    raised = places.written_in(f'"{name}"')
    screened = [place for place in raised if place.startswith("screening/")]
    mended = [place for place in raised if place.startswith("screening/mending")]
    return Topic(
        name=name,
        title=KINDS[name],
        kind="finding in data",
        meaning=KINDS[name],
        use="`postlude data check FILE --fix OUT` writes a file without such rows."
        if mended
        else "Nothing mends it by itself: look at the rows that are named.",
        source="docs/data.md",
        place=(screened or [None])[0],
        shows=("postlude data check FILE",),
    )


FINDINGS = Home("finding in data", "findings of `postlude data check`", _finding_names, _finding)


def _sections() -> dict[str, tuple[str, str]]:
    """Name -> (title, file)."""
    sections: dict[str, tuple[str, str]] = {}
    for path, source in places.sources().items():
        if path.startswith("preflight/"):
            for name, title in re.findall(r'Section\("(\w+)", "([^"]+)"\)', source):
                sections[name] = (title, path)
    return sections


def _section(name: str) -> Topic:
    title, path = _sections()[name]
    text = re.sub(r"^Sections? (`\w+`(,| and)? )*`?\w*`?: ", "", places.docstring(path))
    return Topic(
        name=name,
        title=title,
        kind="section of check",
        meaning=_sentence(" ".join(text.split("\n\n")[0].split())),
        source="docs/checks.md",
        place=path,
        shows=("postlude check RECIPE",),
    )


SECTIONS = Home(
    "section of check",
    "sections of `postlude check`",
    lambda: tuple(_sections()),
    _section,
    lambda asked: [name for name, (title, _) in _sections().items() if plain(title) == plain(asked)],
)


def _rule_names() -> Sequence[str]:
    from postlude.doctor.rules import RULES

    return tuple(RULES)


def _rule(name: str) -> Topic:
    from postlude.doctor.rules import RULES
    from postlude.runs.figures import lookup

    rule = RULES[name]
    return Topic(
        name=name,
        title=rule.symptom,
        kind="alarm",
        meaning=f"{_sentence(rule.symptom)} Likely cause: {_sentence(rule.cause)}",
        formula=f"fires at: {rule.threshold}",
        use=_sentence(rule.remedy),
        source=rule.source,
        place=places.place_of_function(rule.check),
        see=tuple(one for reads in rule.reads for one in reads.split("|") if lookup(one)),
        shows=("postlude doctor RUN",),
    )


ALARMS = Home("alarm", "alarms of runs, and rules of `postlude doctor`", _rule_names, _rule)
