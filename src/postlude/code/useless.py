"""Programs that do nothing of what is asked: tests that one of them passes test little, or nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from postlude.code.cases import Call, Case, Check, Script, root_of
from postlude.code.compare import WAYS, Comparison

NOTHING = "class Nothing: pass\n\n"
CONSTANTS = ("0", "''", "[]", "None", "True")
"""What functions give, whatever is asked."""
SECONDS = 1.0
"""Of processor time for each; the tests of a right program may take longer."""


@dataclass(frozen=True)
class Useless:
    """One of them."""

    source: str
    what: str
    """As a sentence goes on after `a program`."""
    constant: str = ""
    """What its functions give, of those that give one and the same value."""


IDLE = Useless(NOTHING, "that does nothing")


def no_use(cases: Iterable[Case]) -> Useless:
    """Its functions give an object that can do nothing."""
    return Useless(_giving("Nothing()", cases), "whose functions return an object of no use")


def constants(cases: Sequence[Case]) -> Iterator[Useless]:
    """Those whose functions give a constant, or their first argument."""
    for value in CONSTANTS:
        yield Useless(_giving(value, cases), f"whose functions always return {value}", value)
    yield Useless(_giving("args[0] if args else None", cases), "whose functions return their first argument")


def _giving(value: str, cases: Iterable[Case]) -> str:
    """A program with all names that the cases use: functions of this value, classes where a target is a method."""
    names = sorted({name for case in cases if isinstance(case, Check) for name in case.names})
    targets = {case.target for case in cases if isinstance(case, Call)}
    classes = sorted({root_of(target) for target in targets if not target.isidentifier()})
    functions = sorted({*names, *filter(str.isidentifier, targets)} - {*classes})
    return (
        NOTHING
        + f"def _give(*args, **kwargs): return {value}\n"
        + "".join(
            f"class {name}:\n    def __init__(self, *args): pass\n    def __getattr__(self, name): return _give\n"
            for name in classes
        )
        + "".join(f"{name} = _give\n" for name in functions)
    )


def may_pass(program: Useless, cases: Sequence[Case], comparison: Comparison) -> bool:
    """Whether it could pass, as far as shows without running it: by the values and the output that are expected."""
    return all(_may_pass(program, case, comparison) for case in cases)


def _may_pass(program: Useless, case: Case, comparison: Comparison) -> bool:
    if isinstance(case, Check):
        return True
    if isinstance(case, Script):
        return False
    if program.constant:
        return comparison.equal(case.expected, ast.literal_eval(program.constant))
    return bool(case.args) and comparison.equal(case.expected, case.args[0])


def prints_nothing(cases: Sequence[Case], comparison: Comparison) -> bool:
    """Whether every case is a script of which no output is expected."""
    return bool(cases) and all(
        isinstance(case, Script)
        and (case.checker or "lines") in ("lines", *WAYS)
        and comparison.same_text(case.stdout, "", case.checker or "lines")
        for case in cases
    )
