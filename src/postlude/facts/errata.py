"""All corrected errors of the notes, as docs/specification.md lists them in section 14."""

from __future__ import annotations

from functools import cache

from postlude.facts.errata_judgement import DOCTRINE, FOR_LLMS
from postlude.facts.errata_methods import DRPO_NOTE, NOTEBOOK
from postlude.facts.topic import Topic

ERRATA = (*DRPO_NOTE, *NOTEBOOK, *DOCTRINE, *FOR_LLMS)


@cache
def errata() -> tuple[Topic, ...]:
    return tuple(erratum.topic(count) for count, erratum in enumerate(ERRATA, 1))
