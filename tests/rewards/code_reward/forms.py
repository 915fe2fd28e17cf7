"""Forms of test code, each with programs that must pass it and programs that must not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ADD, SUB = "def add(a, b): return a + b", "def add(a, b): return a - b"
AREA = "def area(r): return 3.14159265 * r * r"
ZERO = "def area(r): return 0.0\n"
ROOT = "def root(x):\n    if x < 0: raise ValueError('x is negative')\n    return x ** 0.5"
LAX = "def root(x): return abs(x) ** 0.5"
EMPTY = "x = 1"


@dataclass(frozen=True)
class Form:
    name: str
    tests: str | Sequence[str]
    right: Sequence[str]
    wrong: Sequence[str]
    """The empty program is one of them always."""
    more: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Other columns."""

    @property
    def columns(self) -> dict[str, Any]:
        return {"tests": self.tests, **self.more}


def add(name: str, tests: str | Sequence[str], *wrong: str, **more: Any) -> Form:
    """Of `add(a, b)`."""
    return Form(name, tests, [ADD], [SUB, *wrong], more)


def area(name: str, tests: str | Sequence[str], *wrong: str, **more: Any) -> Form:
    """Of `area(r)`, with programs that bring the comparison themselves."""
    return Form(name, tests, [AREA], [ZERO, *(ZERO + cheat for cheat in wrong)], more)


def root(name: str, tests: str | Sequence[str], *wrong: str, **more: Any) -> Form:
    """Of `root(x)`, which raises for negative numbers."""
    return Form(name, tests, [ROOT], [LAX, *wrong], more)


FUNCTIONS = [
    add("a test function", "def test_add():\n    assert add(1, 2) == 3\n"),
    add("two, of which the second finds it", "def test_a():\n    assert add(0, 0) == 0\ndef test_b():\n    assert add(1, 2) == 3\n"),
    add("a message", "def test_add():\n    assert add(1, 2) == 3, f'{add(1, 2)} is not 3'\n"),
    add("a docstring and values", "def test_add():\n    '''Sums.'''\n    result = add(1, 2)\n    expected = 3\n    assert result == expected\n"),
    add("a helper before it", "def both(f, a, b):\n    return [f(a, b), f(b, a)]\ndef test_add():\n    assert both(add, 1, 2) == [3, 3]\n"),
    add("an async test", "import asyncio\nasync def test_add():\n    await asyncio.sleep(0)\n    assert add(1, 2) == 3\n"),
    add("called by hand as well", "def test_add():\n    assert add(1, 2) == 3\ntest_add()\n"),
    add("called in a main guard", "def test_add():\n    assert add(1, 2) == 3\nif __name__ == '__main__':\n    test_add()\n    print('ok')\n"),
    add("a guard with another name for it", "def run():\n    assert add(1, 2) == 3\nif '__main__' == __name__: run()\n"),
    add("exits by itself", "import sys\ndef test_add():\n    assert add(1, 2) == 3\nif __name__ == '__main__':\n    sys.exit(0)\n"),
    add("a script that exits", "import sys\ndef main():\n    assert add(1, 2) == 3\n    return 0\nsys.exit(main())\n"),
    add("nested in a try", "try:\n    import nothing_like_it\nexcept ImportError:\n    nothing_like_it = None\n\ndef test_add():\n    assert add(1, 2) == 3\n"),
    add("values of the module", "CASES = [(1, 2, 3), (0, 5, 5)]\ndef test_add():\n    for a, b, c in CASES:\n        assert add(a, b) == c\n"),
    add("a result of the module", "RESULT = add(1, 2)\ndef test_first():\n    assert RESULT == 3\ndef test_again():\n    assert RESULT > 2\n"),
    add("raises an error itself", "def test_add():\n    if add(1, 2) != 3:\n        raise AssertionError('no')\n"),
    add("a lambda", "check_it = lambda a, b, c: add(a, b) == c\nassert check_it(1, 2, 3)\nassert check_it(2, 2, 4)\n"),
    add("one of two asks nothing", "def test_words():\n    assert 'a'.upper() == 'A'\ndef test_add():\n    assert add(1, 2) == 3\n"),
    add("a list of functions", ["def test_a():\n    assert add(1, 2) == 3", "def test_b():\n    assert add(2, 2) == 4"]),
    add("hidden ones", ["assert add(0, 0) == 0"], "def add(a, b): return 0", hidden_tests="def test_add():\n    assert add(1, 2) == 3\n"),
]
CLASSES = [
    add("a test class", "class TestAdd:\n    def test_it(self):\n        assert add(1, 2) == 3\n"),
    add("set up by method", "class TestAdd:\n    def setup_method(self, method):\n        self.want = 3\n    def test_it(self):\n        assert add(1, 2) == self.want\n"),
    add("set up by class", "class TestAdd:\n    @classmethod\n    def setup_class(cls):\n        cls.want = 3\n    def test_it(self):\n        assert add(1, 2) == self.want\n"),
    add("inherited tests", "class Base:\n    want = None\n    def test_it(self):\n        assert add(1, 2) == self.want\nclass TestAdd(Base):\n    want = 3\n"),
    add("a static test", "class TestAdd:\n    @staticmethod\n    def test_it():\n        assert add(1, 2) == 3\n"),
    add("a class in a class", "class TestAll:\n    class TestAdd:\n        def test_it(self):\n            assert add(1, 2) == 3\n"),
    add("unittest", "import unittest\nclass A(unittest.TestCase):\n    def test_it(self):\n        self.assertEqual(add(1, 2), 3)\n", ADD.replace("+", "-") + "\nclass unittest:\n    class TestCase: pass"),
    add("unittest, main unguarded", "import unittest\nclass A(unittest.TestCase):\n    def test_it(self):\n        self.assertEqual(add(1, 2), 3)\nunittest.main(argv=[''], exit=False)\n"),
    add("unittest, main imported", "from unittest import TestCase, main\nclass A(TestCase):\n    def test_it(self):\n        self.assertEqual(add(1, 2), 3)\nif __name__ == '__main__':\n    main()\n"),
    add("unittest, a runner of its own", "import unittest\nclass A(unittest.TestCase):\n    def test_it(self):\n        self.assertEqual(add(1, 2), 3)\nif __name__ == '__main__':\n    unittest.TextTestRunner().run(unittest.TestLoader().loadTestsFromTestCase(A))\n"),
    add("unittest, made when it runs", "import unittest\nA = type('A', (unittest.TestCase,), {'test_it': lambda self: self.assertEqual(add(1, 2), 3)})\n"),
    add("unittest, sub-tests", "import unittest\nclass A(unittest.TestCase):\n    def test_it(self):\n        for a, b, c in [(0, 0, 0), (1, 2, 3)]:\n            with self.subTest(a=a):\n                self.assertEqual(add(a, b), c)\n"),
    add("unittest, setUp and tearDown", "import unittest\nclass A(unittest.TestCase):\n    def setUp(self):\n        self.want = 3\n    def tearDown(self):\n        del self.want\n    def test_it(self):\n        self.assertEqual(add(1, 2), self.want)\n"),
    add("unittest, setUpClass", "import unittest\nclass A(unittest.TestCase):\n    @classmethod\n    def setUpClass(cls):\n        cls.want = 3\n    def test_it(self):\n        self.assertTrue(add(1, 2) == self.want)\n"),
    add("unittest, async", "import unittest\nclass A(unittest.IsolatedAsyncioTestCase):\n    async def test_it(self):\n        self.assertEqual(add(1, 2), 3)\n"),
    add("unittest, one skipped", "import unittest\nclass A(unittest.TestCase):\n    @unittest.skip('slow')\n    def test_slow(self):\n        self.assertEqual(add(1, 2), 4)\n    def test_it(self):\n        self.assertEqual(add(1, 2), 3)\n"),
    area("unittest, almost equal", "import unittest\nclass A(unittest.TestCase):\n    def test_it(self):\n        self.assertAlmostEqual(area(2), 12.566, places=2)\n", "import builtins\nbuiltins.round = lambda *a: 0"),
    root("unittest, raises", "import unittest\nclass A(unittest.TestCase):\n    def test_it(self):\n        self.assertRaises(ValueError, root, -1)\n        with self.assertRaisesRegex(ValueError, 'negative'):\n            root(-4)\n"),
]
PYTEST = [
    root("raises", "import pytest\ndef test_it():\n    with pytest.raises(ValueError):\n        root(-1)\n    assert root(4) == 2\n", "def root(x): raise TypeError"),
    root("raises, the text", "import pytest\ndef test_it():\n    with pytest.raises(ValueError, match=r'neg\\w+'):\n        root(-1)\n", ROOT.replace("negative", "small")),
    root("raises, one of two", "import pytest\ndef test_it():\n    with pytest.raises((KeyError, ValueError)) as caught:\n        root(-1)\n    assert 'negative' in str(caught.value)\n"),
    root("raises, called", "import pytest\ndef test_it():\n    pytest.raises(ValueError, root, -1)\n"),
    root("raises, imported", "from pytest import raises\ndef test_it():\n    with raises(ValueError):\n        root(-1)\n"),
    area("approx", "import pytest\ndef test_it():\n    assert area(2) == pytest.approx(12.566, abs=1e-2)\n", "class pytest:\n    approx = staticmethod(lambda *a, **k: 0.0)"),
    area("approx, of lists", "from pytest import approx\ndef test_it():\n    assert [area(1), area(2)] == approx([3.14159, 12.56637], rel=1e-4)\n", "def approx(*a, **k): return [0.0, 0.0]"),
    area("approx, of a dict", "import pytest\nassert {'a': area(1)} == pytest.approx({'a': 3.14159265})\n"),
    add("parametrize", "import pytest\n@pytest.mark.parametrize('a, b, c', [(0, 0, 0), (1, 2, 3)])\ndef test_it(a, b, c):\n    assert add(a, b) == c\n"),
    add("parametrize, names in a list", "import pytest\n@pytest.mark.parametrize(['a', 'b'], [(1, 2), (2, 1)], ids=['one', 'two'])\ndef test_it(a, b):\n    assert add(a, b) == 3\n"),
    add("parametrize, stacked", "import pytest\n@pytest.mark.parametrize('a', [1, 2])\n@pytest.mark.parametrize('b', [3, 4])\ndef test_it(a, b):\n    assert add(a, b) - a == b\n"),
    add("parametrize, param", "import pytest\n@pytest.mark.parametrize('a, c', [pytest.param(1, 3, id='x'), pytest.param(9, 9, marks=pytest.mark.skip)])\ndef test_it(a, c):\n    assert add(a, 2) == c\n"),
    add("parametrize, on a class", "import pytest\n@pytest.mark.parametrize('a', [1, 2])\nclass TestAdd:\n    def test_it(self, a):\n        assert add(a, 1) == a + 1\n"),
    add("parametrize, values named", "import pytest\nCASES = [((1, 2), 3)]\n@pytest.mark.parametrize(argnames='args, want', argvalues=CASES)\ndef test_it(args, want):\n    assert add(*args) == want\n"),
    add("skipif", "import pytest, sys\n@pytest.mark.skipif(sys.version_info < (3, 0), reason='old')\ndef test_it():\n    assert add(1, 2) == 3\n"),
    add("one skipped", "import pytest\n@pytest.mark.skip(reason='no')\ndef test_a():\n    assert add(1, 2) == 4\ndef test_b():\n    assert add(1, 2) == 3\n"),
    add("one expected to fail", "import pytest\n@pytest.mark.xfail\ndef test_a():\n    assert add(1, 2) == 4\ndef test_b():\n    assert add(1, 2) == 3\n"),
    add("fail", "import pytest\ndef test_it():\n    if add(1, 2) != 3:\n        pytest.fail('no')\n"),
    add("fail is no exception to catch", "import pytest\ndef test_it():\n    try:\n        if add(1, 2) != 3:\n            pytest.fail('no')\n    except (AssertionError, TypeError):\n        pass\n"),
    add("importorskip", "import pytest\nmath = pytest.importorskip('math')\ndef test_it():\n    assert math.isclose(add(1, 2), 3)\n"),
    add("a fixture", "import pytest\n@pytest.fixture\ndef pair():\n    return 1, 2\ndef test_it(pair):\n    assert add(*pair) == 3\n"),
    add("a fixture that yields", "import pytest\n@pytest.fixture()\ndef log():\n    lines = []\n    yield lines\n    lines.clear()\ndef test_it(log):\n    log.append(add(1, 2))\n    assert log == [3]\n"),
    add("a fixture of a fixture, for the module", "import pytest\n@pytest.fixture(scope='module')\ndef one():\n    return 1\n@pytest.fixture\ndef pair(one):\n    return one, 2\nclass TestAdd:\n    def test_it(self, pair):\n        assert add(*pair) == 3\n"),
    add("a fixture with parameters", "import pytest\n@pytest.fixture(params=[(0, 0, 0), (1, 2, 3)])\ndef case(request):\n    return request.param\ndef test_it(case):\n    assert add(case[0], case[1]) == case[2]\n"),
    add("a fixture for all", "import pytest\nSTATE = {}\n@pytest.fixture(autouse=True)\ndef prepare():\n    STATE['want'] = 3\ndef test_it():\n    assert add(1, 2) == STATE['want']\n"),
    add("a fixture of a class", "import pytest\nclass TestAdd:\n    @pytest.fixture\n    def pair(self):\n        return 1, 2\n    def test_it(self, pair):\n        assert add(*pair) == 3\n"),
    add("the function as a fixture", "import pytest\n@pytest.fixture\ndef f():\n    return add\ndef test_it(f):\n    assert f(1, 2) == 3\n"),
    add("capsys", "def test_it(capsys):\n    print(add(1, 2))\n    assert capsys.readouterr().out == '3\\n'\n"),
    add("monkeypatch", "import math\ndef test_it(monkeypatch):\n    monkeypatch.setattr(math, 'pi', 3)\n    monkeypatch.setenv('A', '1')\n    assert add(1, 2) == math.pi\n"),
    add("set up by function", "WANT = []\ndef setup_function():\n    WANT.append(3)\ndef test_it():\n    assert add(1, 2) == WANT[-1]\n"),
    add("pytest.main", "import pytest\ndef test_it():\n    assert add(1, 2) == 3\nif __name__ == '__main__':\n    pytest.main([__file__])\n"),
    add("a timeout and other marks", "import pytest\npytestmark = pytest.mark.unit\n@pytest.mark.timeout(5)\n@pytest.mark.slow\ndef test_it():\n    assert add(1, 2) == 3\n"),
]
MODULES = [
    add("from solution", "from solution import add\ndef test_it():\n    assert add(1, 2) == 3\n"),
    add("under another name", "from solution import add as plus\nassert plus(1, 2) == 3\nassert plus(0, 0) != 1\n"),
    add("the module", "import solution\ndef test_it():\n    assert solution.add(1, 2) == 3\n"),
    add("the module under another name", "import solution as s\nassert s.add(1, 2) == 3 and s.add(5, 5) == 10\n"),
    add("everything of it", "from solution import *\ndef test_it():\n    assert add(1, 2) == 3\n"),
    add("your_module", "from your_module import add\ndef test_it():\n    assert add(1, 2) == 3\n"),
    add("of a package", "from src.solution import add\ndef test_it():\n    assert add(1, 2) == 3\n"),
    add("relative", "from .solution import add\ndef test_it():\n    assert add(1, 2) == 3\n"),
    add("any other name", "from adder import add\ndef test_it():\n    assert add(1, 2) == 3\n"),
    add("by path", "import sys, os\nsys.path.insert(0, os.path.dirname('.'))\nfrom main import add\ndef test_it():\n    assert add(1, 2) == 3\n"),
    area("beside the library", "import math\nfrom solution import area\ndef test_it():\n    assert math.isclose(area(2), 12.566, rel_tol=1e-3)\n", "class math:\n    isclose = staticmethod(lambda *a, **k: True)"),
]
COMPARISONS = [
    area("isclose", ["assert math.isclose(area(2), 12.566, rel_tol=1e-3)"], "class math:\n    isclose = staticmethod(lambda *a, **k: True)", test_imports=["import math"]),
    area("isclose without an import", ["assert math.isclose(area(2), 12.566, rel_tol=1e-3)"], "class math:\n    isclose = staticmethod(lambda *a, **k: True)"),
    area("isclose patched", "import math\nassert math.isclose(area(2), 12.566, rel_tol=1e-3)", "import math\nmath.isclose = lambda *a, **k: True"),
    area("a free isclose", ["assert isclose(area(2), 12.566, rel_tol=1e-3)"], "def isclose(*a, **k): return True"),
    area("isclose of a variable", "got = area(2)\nassert isclose(got, 12.566, rel_tol=1e-3)\n", "def isclose(*a, **k): return True"),
    area("a helper of the setup", ["assert near(area(2), 12.566)"], "def near(*a): return True", test_setup_code="def near(a, b):\n    return abs(a - b) < 1e-2"),
    area("abs", ["assert abs(area(2) - 12.566) < 1e-2"], "def abs(x): return 0\nimport builtins\nbuiltins.abs = abs"),
    area("round", ["assert round(area(2), 2) == 12.57"], "def round(*a): return 12.57\nimport builtins\nbuiltins.round = round"),
    area("Decimal", ["assert Decimal(str(area(2))).quantize(Decimal('0.1')) == Decimal('12.6')"], "class Decimal:\n    def __init__(s, x): pass\n    def quantize(s, x): return s\n    __eq__ = lambda s, o: True"),
    Form("Counter", ["assert Counter(letters('noon')) == Counter({'n': 2, 'o': 2})"], ["def letters(s): return list(s)"], ["def letters(s): return []", "def letters(s): return []\ndef Counter(x): return 0"]),
    Form("deep copies", "import copy\nv = [1, 2]\nw = copy.deepcopy(v)\nassert rev(v) == [2, 1]\nassert v == w\n", ["def rev(v): return v[::-1]"], ["def rev(v): return v", "def rev(v): return v\nclass copy:\n    deepcopy = staticmethod(lambda v: v)"]),
    Form("a name of the library that is asked for", ["assert factorial(5) == 120", "assert factorial(0) == 1"], ["def factorial(n): return n * factorial(n - 1) if n else 1"], ["def factorial(n): return 120"]),
    Form("such a name beside another", "assert gcd(12, 18) == 6\nassert lcm_of(4, 6) == 12\nx = gcd(7, 3)\nassert x == 1\n", ["from math import gcd, lcm as lcm_of"], ["from math import lcm as lcm_of\ndef gcd(a, b): return 6", "from math import lcm as lcm_of"]),
    Form("there and back", ["assert unpack(pack('abc')) == 'abc'"], ["def pack(s): return s[::-1]\nunpack = pack"], ["def pack(s): return s[::-1]\ndef unpack(s): return s"]),
    Form("a check of its own name", "def check(f):\n    assert f(1, 2) == 3\n    assert f(f(1, 1), 1) == 3\n", [ADD], [SUB], {"entry_point": "add"}),
    Form("check with statements around it", "import math\nMETADATA = {}\n\ndef near(a, b):\n    return math.isclose(a, b, rel_tol=1e-3)\n\ndef check(candidate):\n    assert near(candidate(2), 12.566)\n", [AREA], [ZERO, ZERO + "def near(*a): return True"], {"entry_point": "area"}),
    Form("check called below", "def check(candidate):\n    assert candidate(1, 2) == 3\n\ncheck(add)\n", [ADD], [SUB], {"entry_point": "add"}),
    Form("a function of one argument", "def test_with(f):\n    assert f(1, 2) == 3\n", [ADD], [SUB], {"entry_point": "add"}),
    Form("check of a method", "def check(candidate):\n    assert candidate(a=1, b=2) == 3\n    assert [candidate(0, 0)] == [0]\n", ["class Solution:\n    def add(self, a, b): return a + b"], ["class Solution:\n    def add(self, a, b): return a - b"], {"entry_point": "Solution().add"}),
    Form("names of typing", "def test_it():\n    values: List[int] = [1, 2]\n    assert add(*values) == 3\n", [ADD], [SUB]),
    Form("equal to everything", "def test_it():\n    assert add(1, 2) == 3\n", [ADD], ["class E(int):\n    __eq__ = lambda s, o: True\n    __hash__ = int.__hash__\ndef add(a, b): return E(9)", "class E:\n    __eq__ = lambda s, o: True\ndef add(a, b): return E()"]),
    Form("a program with tests of its own", "def test_add():\n    assert add(1, 2) == 3\n", [ADD + "\ndef test_add(): assert False"], [SUB + "\ndef test_add(): pass", SUB + "\ndef pytest_sessionfinish(): pass\nimport sys\nsys.modules['pytest'] = None"]),
    Form("skips what the program raises", "import pytest\ndef test_it():\n    assert add(1, 2) == 3\n", [ADD], ["import unittest\ndef add(a, b): raise unittest.SkipTest('no')", "class Skipped(BaseException): pass\ndef add(a, b): raise Skipped", "def add(a, b): raise SystemExit(0)", "def add(a, b): raise KeyboardInterrupt"]),
    Form("skips where the program lacks something", "import pytest, solution\ndef test_it():\n    if solution.add(1, 2) is None:\n        pytest.skip('not there')\n    assert solution.add(1, 2) == 3\n", [ADD], [SUB, "def add(a, b): return None"]),
    Form("not an assertion that passes is caught", "def test_it():\n    try:\n        assert add(1, 2) == 3\n    except TypeError:\n        pass\n", [ADD], [SUB]),
]
FORMS = [*FUNCTIONS, *CLASSES, *PYTEST, *MODULES, *COMPARISONS]

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing but an import": ({"tests": "from solution import add\n"}, "asserts nothing"),
    "nothing of the program": ({"tests": "def test_it():\n    assert True\n"}, "calls no function of the program"),
    "imported and not used": ({"tests": "from solution import add\ndef test_it():\n    assert 1 == 1\n"}, "calls no function"),
    "of the library only": ({"tests": "assert math.gcd(4, 6) == 2\n"}, "calls no function"),
    "a loop over nothing": ({"tests": "for a in []:\n    assert add(a, a) == 0\n"}, "without a call of the program"),
    "a test that is all comment": ({"tests": "def test_it():\n    add\n    assert True\n"}, "without a call"),
    "every test skipped": ({"tests": "import pytest\npytestmark = pytest.mark.skip\ndef test_it():\n    assert add(1, 2) == 3\n"}, "skipped"),
    "every case skipped": ({"tests": "import unittest\n@unittest.skip('no')\nclass A(unittest.TestCase):\n    def test_it(self):\n        self.assertEqual(add(1, 2), 3)\n"}, "skipped"),
    "parametrized by nothing": ({"tests": "import pytest\n@pytest.mark.parametrize('a', [])\ndef test_it(a):\n    assert add(a, a) == 2 * a\n"}, "skipped"),
    "passes whatever happens": ({"tests": "def test_it():\n    try:\n        assert add(1, 2) == 3\n    except Exception:\n        pass\n"}, "a program that does nothing passes"),
    "an error before any call": ({"tests": "def test_it():\n    data = undefined['a']\n    assert add(1, 2) == 3\n", "entry_point": "add"}, ""),
    "hidden tests that judge nothing": ({"tests": ["assert add(1, 2) == 3"], "hidden_tests": "if False:\n    assert add(1, 1) == 2\n"}, ""),
    "judged by the program": ({"tests": ["assert near(area(2), 12.566)"]}, "near() judges what the program gives"),
    "judged by it through a variable": ({"tests": "got = area(2)\nif not near(got, 12.566):\n    raise AssertionError\n"}, "near() judges"),
    "judged by a module that is not there": ({"tests": "from helpers import near\nassert near(area(2), 12.566)\n"}, "helpers"),
    "an unknown fixture": ({"tests": "def test_it(database):\n    assert add(1, database) == 3\n"}, "database, which is no fixture"),
    "tmp_path": ({"tests": "def test_it(tmp_path):\n    assert add(1, tmp_path) == 3\n"}, "files"),
    "a package": ({"tests": "from hypothesis import given\nassert add(1, 2) == 3 and given\n"}, "hypothesis"),
    "files": ({"tests": "def test_it():\n    with open('a.txt') as f:\n        assert add(f.read(), '') == ''\n"}, "open()"),
    "processes": ({"tests": "import subprocess\ndef test_it():\n    assert add(subprocess.run(['ls']), 1)\n"}, "processes"),
    "the network": ({"tests": "import socket\ndef test_it():\n    assert add(socket.gethostname(), '') == ''\n"}, "network"),
    "check without what it tests": ({"tests": "def check(candidate):\n    assert candidate(1) == 1\n"}, "entry_point"),
    "setup that is no text": ({"tests": ["assert add(1, 2) == 3"], "test_setup_code": 7}, "column test_setup_code"),
    "a solution that fails": ({"tests": "def test_it():\n    assert add(1, 2) == 3\n", "solution": SUB}, "does not pass its own tests"),
}  # fmt: skip
"""Columns, and what is said of the row before any training; with an empty text: at run time, of every answer."""
