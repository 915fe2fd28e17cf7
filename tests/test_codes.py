"""Error codes: every problem has one, every one is in the table, and the table holds no other."""

import ast
import copy
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from postlude.codes import CODES, GROUPS
from postlude.errors import UNCODED, ConfigError, DataError, PostludeError, Problem, RewardError
from postlude.inputs.comparing import ACCEPTED, WRITTEN
from postlude.inputs.made_of import WORDS

SOURCE = Path(__file__).parent.parent / "src" / "postlude"


def subclasses(kind: type) -> Iterator[type]:
    yield kind
    for below in kind.__subclasses__():
        yield from subclasses(below)


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """(where, name of what is called, call) of everything that makes an error or a problem in the source."""
    import postlude.sandbox.backends  # noqa: F401  # defines an error of its own

    names = {kind.__name__ for kind in subclasses(PostludeError)} | {"Problem"}
    for path in sorted(SOURCE.rglob("*.py")):
        if path.name == "errors.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func).rpartition(".")[2]
                if name in names or name == "wrong":
                    yield f"{path.relative_to(SOURCE)}:{node.lineno}", name, node


def findings() -> Iterator[tuple[str, str]]:
    """(where, code) of everything that a preflight notes, warns of or calls broken."""
    for path in sorted((SOURCE / "preflight").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr in ("note", "warn", "broken") and isinstance(node.args[0], ast.Constant):
                    yield f"preflight/{path.name}:{node.lineno}", str(node.args[0].value)


def code_of(name: str, call: ast.Call) -> ast.expr | None:
    """What a call gives as the code."""
    if name == "Problem":
        return call.args[0]
    if name == "wrong":
        return call.args[1]
    return next((k.value for k in call.keywords if k.arg == "code"), None)


def is_text(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp):
        return is_text(node.left) or is_text(node.right)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def test_every_error_is_raised_with_a_code():
    """Either `code=`, or problems which have theirs; the types hold the second (pyright), this test the first."""
    bare = [
        where
        for where, name, call in calls()
        if name not in ("Problem", "wrong") and code_of(name, call) is None and is_text(call.args[0])
    ]
    assert bare == []


def test_the_table_holds_the_codes_of_the_source_and_no_other():
    used = {}
    for where, name, call in calls():
        code = code_of(name, call)
        if isinstance(code, ast.Constant):
            used[str(code.value)] = where
    used |= {code: where for where, code in findings()}
    # some are chosen where a problem is made: the kinds of a value that pydantic reports, and the default of a tag
    chosen = {"unknown-key", "missing-key", "out-of-range", "contradiction", "not-a-choice", "wrong-type"}
    chosen |= {"not-plain-yaml", "given-twice"}
    chosen |= {f"changed-{word}" for word in ACCEPTED if word not in WRITTEN or word in WORDS}  # what has changed
    assert {code: where for code, where in used.items() if code not in CODES} == {}
    assert set(CODES) - set(used) - chosen == {UNCODED}
    assert all(code.replace("-", "").isalnum() and code == code.lower() for code in CODES)
    assert sum(len(group) for group in GROUPS.values()) == len(CODES) - 1


def test_a_problem_is_its_sentence_and_keeps_code_place_and_key():
    problem = Problem("out-of-range", "steps must be at least 1, got 0.", key="steps").at("r.yaml line 3")
    assert problem == "r.yaml line 3: steps must be at least 1, got 0."
    assert (problem.code, problem.place, problem.key) == ("out-of-range", "r.yaml line 3", "steps")
    within = problem.without("r.yaml line 3: ").within("set 'a': ")
    assert within == "set 'a': steps must be at least 1, got 0."
    assert (within.code, within.place, within.key) == ("out-of-range", "r.yaml line 3", "steps")
    assert problem.at("") is problem
    for again in (copy.deepcopy(problem), pickle.loads(pickle.dumps(problem))):
        assert (again, again.code, again.place, again.key) == (problem, "out-of-range", "r.yaml line 3", "steps")


def test_an_error_has_the_codes_of_its_problems():
    error = ConfigError([Problem("unknown-key", "a"), Problem("missing-key", "b")])
    assert (error.codes, error.code, str(error)) == (["unknown-key", "missing-key"], "unknown-key", "a\nb")
    error = DataError("no rows", code="no-rows", place="x.jsonl")
    assert (error.codes, error.place, error.problems) == (["no-rows"], "x.jsonl", ["no rows"])
    error = RewardError("it raised", "Mend it.", code="reward-raised")
    assert (error.code, error.what, str(error)) == ("reward-raised", "it raised", "it raised\nMend it.")


def test_an_error_of_a_users_own_file_needs_no_code():
    with pytest.raises(ConfigError) as caught:
        raise ConfigError("mine")  # type: ignore[call-overload]
    assert caught.value.codes == [UNCODED]
