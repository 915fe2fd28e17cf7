"""From a document to its report: the cheap part first, then, unless that is all that is wanted, the model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from postlude.check import check
from postlude.errors import ConfigError, DataError
from postlude.objects import imports_put_back
from postlude.preflight.report import Report, refused
from postlude.preflight.rows import look_at_rows
from postlude.preflight.template import look_at_template
from postlude.preflight.tokens import look_at_tokens
from postlude.prepared import Prepared
from postlude.recipe import Document

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How much is looked at."""

    quick: bool = False
    """Only what is known without weights."""
    prompts: int = 16
    """That the model is asked."""
    samples: int = 8
    """Answers to each."""
    seed: int = 0


def preflight(document: Document, name: str, options: Options | None = None, tell: Tell = lambda doing: None) -> Report:
    """Look at everything; what is wrong stands in the report, and is not raised."""
    options = options or Options()
    began = time.monotonic()
    report = Report(name, quick=options.quick)
    with imports_put_back():
        try:
            tell("reading recipe, data and tokenizer")
            prepared = check(document)
        except (ConfigError, DataError) as error:
            report.sections.append(refused(error.problems))
        else:
            _look(prepared, report, options, tell)
    report.seconds = time.monotonic() - began
    return report


def _look(prepared: Prepared, report: Report, options: Options, tell: Tell) -> None:
    report.method, report.sizes = prepared.recipe.name, prepared.recipe.sizes
    report.sections += [look_at_rows(prepared), look_at_template(prepared), look_at_tokens(prepared)]
