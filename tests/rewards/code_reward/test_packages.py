"""numpy in the sandbox: where tests import it and it is installed, as safe as without, or a clear refusal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from postlude.code.cases import Call
from postlude.code.compare import Comparison
from postlude.code.grade import Grading
from postlude.rewards import code as reward
from postlude.rewards.code import Code, code
from postlude.sandbox.canaries import escapes
from postlude.sandbox.pool import Pool
from postlude.sandbox.settings import PACKAGES, Backend, Limits, folder_of

TEST = """
import numpy as np

def assertion(out, exp, atol):
    ok = out == exp
    if not ok and isinstance(exp, float):
        ok = np.allclose(out, exp, rtol=1e-07, atol=atol)
    assert ok

def check(candidate):
    inputs = [[[1.0, 2.0]], [[0.1, 0.2]]]
    results = [3.0, 0.3]
    for inp, exp in zip(inputs, results):
        assertion(candidate(*inp), exp, 1e-6)
"""
ROW = {"test": TEST, "entry_point": "total"}


@pytest.fixture
def numerical(backend: Backend) -> Iterator[Code]:
    pool = Pool(backend, Limits(seconds=2.0), 1)
    made = Code(pool, "", Comparison(), "all", "required", 1)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("program", "word"),
    [
        ("def total(v): return sum(v)", "passed"),
        ("def total(v): return v[0]", "failed"),
        ("def total(v): return float('nan')", "failed"),
        ("def total(v): return None", "failed"),
        ("import numpy as np\ndef total(v): return float(np.sum(v))", "passed"),
        ("import numpy as np\nnp.allclose = lambda *a, **k: True\ndef total(v): return 0.0", "failed"),
        ("class np:\n    allclose = staticmethod(lambda *a, **k: True)\ndef total(v): return 0.0", "failed"),
    ],
)
def test_tests_that_import_numpy(numerical: Code, program: str, word: str) -> None:
    assert numerical.check_row(ROW) is None
    assert numerical.verdict(f"```python\n{program}\n```", ROW).word == word


LIAR = """
class L:
    __array_function__ = __array_ufunc__ = lambda *a, **k: True
    __sub__ = __rsub__ = lambda s, o: 0
    __float__ = lambda s: 3.0
def total(v): return L()
"""


@pytest.mark.parametrize(
    "judged",
    [
        "np.isclose(total([3]), 3)",
        "np.allclose(total([3]), [3])",
        "np.array_equal(total([3]), np.array([3]))",
        "abs(np.float64(3) - total([3])) < 1e-6",
    ],
)
def test_an_object_does_not_decide_what_functions_of_numpy_give(numerical: Code, judged: str) -> None:
    row = {"tests": f"import numpy as np\nassert {judged}"}
    assert numerical.verdict(f"```python\n{LIAR}```", row).word == "failed"
    assert (
        numerical.verdict("```python\nimport numpy as np\ndef total(v): return np.array(v)\n```", row).word == "passed"
    )


def test_a_program_has_numpy_only_where_the_tests_have_or_it_is_asked_for(backend: Backend) -> None:
    source, calls = "import numpy as np\ndef f(): return int(np.arange(4).sum())", [Call("f", [], 6)]
    plain = Pool(backend, Limits(seconds=2.0), 1)
    having = plain.having(["numpy"])
    assert having is plain.having(("numpy",)) and having.having(()) is having and plain.having(()) is plain
    [without] = Grading(plain, source, Comparison()).run(calls)
    [within] = Grading(having, source, Comparison()).run(calls)
    plain.close()
    assert "No module named 'numpy'" in without.detail and within.word == "passed"


def test_no_canary_gets_out_with_numpy(backend: Backend) -> None:
    assert escapes(backend, Limits(packages=PACKAGES))[0] == []


def test_where_it_is_not_installed_the_row_is_refused(numerical: Code, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(package: str) -> Any:
        return None

    monkeypatch.setattr(reward, "folder_of", nowhere)
    problem = numerical.check_row(ROW)
    assert problem is not None and "pip install numpy" in problem
    with pytest.raises(ValueError, match="numpy: it is not installed"):
        code(numpy="always")


def test_other_packages_are_refused(numerical: Code) -> None:
    problem = numerical.check_row({"tests": "import pandas as pd\nassert pd.isna(f(1))"})
    assert problem is not None and "pandas, which the sandbox does not have" in problem
    assert folder_of("no_such_package") is None
