"""Input and output as programs of contests use them, and which limit ends a program that takes too long."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from postlude.code.cases import Call, Script
from postlude.code.compare import Comparison
from postlude.code.grade import Grading, Result
from postlude.sandbox.inside import clock
from postlude.sandbox.pool import Pool
from postlude.sandbox.settings import Backend, Limits

Grade = Callable[..., list[Result]]
STDIN = "3\n1 2 3\n"
SUM = "n, *v = map(int, data)\nprint(n, sum(v))\n"
PYRIVAL = """
import os, sys
from io import BytesIO, IOBase

class FastIO(IOBase):
    newlines = 0
    def __init__(self, file):
        self._fd = file.fileno()
        self.buffer = BytesIO()
        self.writable = "x" in file.mode or "r" not in file.mode
        self.write = self.buffer.write if self.writable else None
    def readline(self):
        while self.newlines == 0:
            b = os.read(self._fd, max(os.fstat(self._fd).st_size, 8192))
            self.newlines = b.count(b"\\n") + (not b)
            at = self.buffer.tell()
            self.buffer.seek(0, 2), self.buffer.write(b), self.buffer.seek(at)
        self.newlines -= 1
        return self.buffer.readline()
    def flush(self):
        if self.writable:
            os.write(self._fd, self.buffer.getvalue())
            self.buffer.truncate(0), self.buffer.seek(0)

class Wrapper(IOBase):
    def __init__(self, file):
        self.buffer = FastIO(file)
        self.flush = self.buffer.flush
        self.writable = self.buffer.writable
        self.write = lambda s: self.buffer.write(s.encode("ascii"))
        self.readline = lambda: self.buffer.readline().decode("ascii")

sys.stdin, sys.stdout = Wrapper(sys.stdin), Wrapper(sys.stdout)
input = lambda: sys.stdin.readline().rstrip("\\r\\n")
data = (input() + " " + input()).split()
"""


@pytest.mark.parametrize(
    "reading",
    [
        "import os\ndata = os.read(0, os.fstat(0).st_size).split()",
        "import os, io\nline = io.BytesIO(os.read(0, os.fstat(0).st_size)).readline\nline()\ndata = 3, *line().split()",
        "import sys, os\ndata = os.read(sys.stdin.fileno(), 1 << 20).split()",
        "data = open(0).read().split()",
        "data = open(0, 'rb').read().split()",
        "data = open('/dev/stdin').read().split()",
        "data = open('/dev/stdin', 'rb').read().split()",
        "data = open('/dev/fd/0').read().split()",
        "import io\ndata = io.open('/proc/self/fd/0').read().split()",
        "import os\ndata = os.read(os.open('/dev/stdin', os.O_RDONLY), 999).split()",
        "from pathlib import Path\ndata = Path('/dev/stdin').read_text().split()",
        "import os\ndata = os.fdopen(0).read().split()",
        "import fileinput\ndata = [w for line in fileinput.input() for w in line.split()]",
        "import fileinput\nf = fileinput.input()\ndata = f.readline().split() + next(f).split()",
        "import sys\ndata = sys.stdin.buffer.read().split()",
        "import sys\ndata = sys.stdin.readline().split() + sys.stdin.readline().split()",
        "import sys\ndata = [w for line in sys.stdin for w in line.split()]",
        "import sys\ninput = sys.stdin.readline\ndata = input().split() + input().split()",
        "import sys\nnext(sys.stdin)\nsys.stdin.seek(0)\ndata = sys.stdin.read().split()",
        "import io, sys\nsys.stdin = io.TextIOWrapper(sys.stdin.buffer)\ndata = input().split() + input().split()",
        "import io, sys\nsys.stdin = io.StringIO(sys.stdin.read())\ndata = input().split() + input().split()",
        "import sys, codecs\ndata = codecs.getreader('utf-8')(sys.stdin.buffer).read().split()",
        "import os, mmap\nassert not os.path.exists('input.txt')\ndata = open(0).read().split()",
        "import sys\ntry: sys.stdin = open('input.txt')\nexcept OSError: pass\ndata = sys.stdin.read().split()",
        "import sys\nassert sys.argv == sys.orig_argv == ['answer.py']\ndata = sys.stdin.read().split()",
        "import os, stat\ns = os.fstat(0)\nassert stat.S_ISREG(s.st_mode)\ndata = os.read(0, s.st_size).split()",
        PYRIVAL,
    ],
)
def test_ways_of_reading(grade: Grade, reading: str) -> None:
    assert grade(f"{reading}\n{SUM}", [Script(STDIN, "3 6\n")]) == [Result("passed")]
    [result] = grade(f"{reading}\n{SUM}", [Script("3\n1 2 4\n", "3 6\n")])
    assert result.word == "failed"


@pytest.mark.parametrize(
    "writing",
    [
        "import io, sys\nsys.stdout = io.TextIOWrapper(sys.stdout.buffer, 'utf-8', line_buffering=True)\nprint(7)",
        "import io, sys\nsys.stdout = io.TextIOWrapper(sys.stdout.buffer)\nprint(7)",
        "import io, sys\nout = io.TextIOWrapper(sys.stdout.buffer)\nprint(7, file=out)",
        "import os\nos.write(1, b'7')",
        "out = open(1, 'w')\nprint(7, file=out)",
        "out = open('/dev/stdout', 'w')\nout.write('7')",
        "import sys\nsys.stdout.buffer.write(b'7')",
        "import sys, io\nkept = sys.stdout\nsys.stdout = io.StringIO()\nprint(7)\nkept.write(sys.stdout.getvalue())",
        "import sys, os, io\nsys.stdout = os.fdopen(1, 'w', 1 << 16)\nprint(7)",
        "import sys\nassert not sys.stdout.seekable()\nsys.stdout.write('7')\nsys.stdout.close()",
        "import atexit, io, os\nout = io.BytesIO(b'7')\natexit.register(lambda: os.write(1, out.getvalue()))",
        "import sys, contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()):\n    print(8)\nprint(7)",
        "open('/dev/stderr', 'w').write('noise')\nprint(7)",
    ],
)
def test_ways_of_writing(grade: Grade, writing: str) -> None:
    assert grade(writing, [Script("", "7\n")]) == [Result("passed")]


def test_threads_with_big_stacks_and_deep_recursion(grade: Grade) -> None:
    source = (
        "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(1 << 28)\n"
        "def down(n): return n and 1 + down(n - 1)\n"
        "t = threading.Thread(target=lambda: print(down(50000)))\nt.start()\nt.join()"
    )
    assert grade(source, [Script("", "50000")]) == [Result("passed")]


@pytest.mark.parametrize(
    "source",
    [
        "open('/etc/passwd').read()",
        "import os\nos.open('/etc/passwd', os.O_RDONLY)",
        "import os\nos.stat('/etc/passwd')",
        "open('/dev/null')",
        "open('/proc/self/cmdline').read()",
        "open('/dev/fd/3', 'rb')",
        "open('/dev/stdin/../../etc/passwd').read()",
        "import os\nos.write(0, b'x')",
        "import os\nos.ftruncate(0, 0)",
        "import ctypes as c\nassert c.CDLL(None).syscall(262, -100, b'/etc', c.create_string_buffer(200), 0) == 0",
        "import ctypes as c\nassert c.CDLL(None).syscall(262, 0, b'', c.create_string_buffer(200), 4096) == 0",
    ],
)
def test_nothing_else_opens(grade: Grade, source: str) -> None:
    [result] = grade(f"{source}\nprint(1)", [Script("abc", "1")])
    assert result.word == "crashed"


def test_input_is_whole_and_is_not_left_to_the_next_program(grade: Grade) -> None:
    size = 3_000_000
    results = grade("import sys\nprint(len(sys.stdin.read()))", [Script("x" * size, str(size)), Script("", "0")])
    assert results == [Result("passed")] * 2
    assert (
        grade("def f(): return input()", [Call("f", [], "x")])[0].detail == "f raised EOFError: EOF when reading a line"
    )


def test_which_limit_ended_a_program(backend: Backend) -> None:
    pool = Pool(backend, Limits(seconds=0.2), 1)
    [loop] = Grading(pool, "while True: pass", Comparison()).run([Script("", "")])
    [sleep] = Grading(pool, "import time\ntime.sleep(60)", Comparison()).run([Script("", "")])
    pool.close()
    assert loop == Result("timeout", "it did not end in time: it used up its processor time")
    assert sleep.word == "timeout" and "it only waited" in sleep.detail


def test_a_right_program_that_waits_or_shares_its_core_is_not_late() -> None:
    seconds, now = 1e6, 1e9  # so long that this process has used none of it
    job = clock.Running(os.getpid(), -1, seconds, now, now)
    limits = ((1.9, 0.0, ""), (2.1, 0.05, ""), (9.9, 0.3, ""), (2.1, 0.03, "idle"), (10.1, 5.0, "clock"))
    for since, used_by_all, late in limits:
        job.check(now + since * seconds, used_by_all * seconds)
        assert job.late == late
        job.late = ""


def test_many_threads_that_used_up_their_time_at_once_are_late_too() -> None:
    pid = os.fork()
    if pid == 0:
        while clock.used(os.getpid()) < 0.05:
            pass
        os.kill(os.getpid(), signal.SIGKILL)
    job = clock.Running.since_now(pid, 0.04)
    assert os.WTERMSIG(job.end()) == signal.SIGKILL and job.late == "processor"
    assert clock.used(pid) == 0.0
