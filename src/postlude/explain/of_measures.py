"""What is measured beside a run: suites of prompts, and the checks of `postlude selftest`."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from functools import cache
from typing import cast

from postlude.explain import places
from postlude.explain.home import Home, plain
from postlude.facts.topic import Topic


def _suite_names() -> Sequence[str]:
    from postlude.suites.spec import packaged

    return tuple(packaged())


def _suite(name: str) -> Topic:
    from postlude.suites.spec import packaged

    suite = packaged()[name]
    source = suite.data.made
    rows = f" {source.rows} rows, made from seed {source.seed}: no file, no network." if source else ""
    scored = ", ".join(str(spec.use) for spec in (*suite.reward, *suite.metrics))
    return Topic(
        name=name,
        title=suite.about,
        kind="suite",
        meaning=f"{suite.about[:1].upper()}{suite.about[1:]}.{rows} Scored by {scored}. "
        f"Rows: {suite.source}; licence: {suite.licence}.",
        formula=f"prompt: {suite.prompt}",
        use="A suite of yours is a file of the same keys: postlude eval MODEL --suite SUITE.yaml.",
        source="docs/suites.md",
        place="suites/tasks.py" if source else "suites/spec.py:packaged",
        words=(f"suite {name}", f"--suite {name}"),
        shows=(f"postlude eval MODEL --suite {name}",),
    )


def _suites_meant(asked: str) -> list[str]:
    """`suite carry`; all of them by `suites`."""
    wanted = plain(asked).removeprefix("postlude-eval-")
    if wanted in ("suite", "suites", "packaged-suites"):
        return list(_suite_names())
    return [name for name in _suite_names() if wanted in (f"suite-{plain(name)}", f"{plain(name)}-suite")]


SUITES = Home("suite", "suites of `postlude eval --suite`", _suite_names, _suite, _suites_meant)


@cache
def _checks() -> Mapping[str, tuple[str, str, tuple[str, ...]]]:
    """Name -> (what it compares, function, kinds of differences), read from the table as text: it imports torch."""
    checks: dict[str, tuple[str, str, tuple[str, ...]]] = {}
    both = ("log-prob", "gradient")
    for node in ast.walk(ast.parse(places.sources()["selftest/table.py"])):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Check":
            name, compares, kinds, measure = node.args[:4]
            several = both if isinstance(kinds, ast.Name) else cast(tuple[str, ...], ast.literal_eval(kinds))
            checks[ast.literal_eval(name)] = (ast.literal_eval(compares), ast.unparse(measure), several)
    return checks


def _check(name: str) -> Topic:
    compares, function, kinds = _checks()[name]
    module, _, symbol = function.rpartition(".")
    return Topic(
        name=name,
        title=compares,
        kind="check of selftest",
        meaning=f"Two ways to the same numbers: {compares}.",
        formula=f"largest difference of: {', '.join(kinds)}",
        use="Where it FAILED the engine cannot be trusted with this model on this machine: train nothing by it, and "
        "report it with the output of --json.",
        source="docs/engine.md; docs/selftest.md",
        place=f"selftest/{module}.py:{symbol}",
        words=(f"selftest {name}", f"--only {name}"),
        shows=(f"postlude selftest MODEL --only {name}",),
    )


def _checks_meant(asked: str) -> list[str]:
    wanted = plain(asked).removeprefix("postlude-").removesuffix("-check")
    if wanted in ("selftest-checks", "checks-of-selftest"):
        return list(_checks())
    return [name for name in _checks() if wanted in (f"selftest-{plain(name)}", f"selftest---only-{plain(name)}")]


CHECKS = Home("check of selftest", "checks of `postlude selftest`", lambda: tuple(_checks()), _check, _checks_meant)
