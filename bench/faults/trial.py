"""A command of postlude in a forked process, so that it starts warm; and what became of it."""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

START = ("train", "recipe.yaml")
RESUME = ("train", "run", "--resume")
PATIENCE = 600.0
"""Seconds after which a command hangs."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int | None
    """Exit status; minus the number of the signal that killed it; None where it had to be killed since it hung."""
    text: str
    """Standard output and error."""

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL

    @property
    def traced(self) -> bool:
        """Whether it ended in a traceback, or showed one."""
        return "Traceback (most recent call last)" in self.text

    @property
    def refused(self) -> bool:
        """Whether it ended with a sentence that says why."""
        heads = ("error\n", "problems\n")
        return self.code not in (0, None) and not self.traced and any(head in self.text for head in heads)

    @property
    def last(self) -> str:
        """What it said last, on one line."""
        lines = [line.strip() for line in self.text.splitlines() if line.strip()]
        return lines[-1][:300] if lines else ""

    @property
    def said(self) -> frozenset[str]:
        """Its lines without figures, to tell whether it said something that another did not."""
        return frozenset(re.sub(r"[\d.:]+", "#", line).strip() for line in self.text.splitlines() if line.strip())


def warm() -> None:
    """Load in this process what every command needs, without starting a thread."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "COLUMNS": "250"}
    import peft  # noqa: F401
    import torch
    import transformers
    from transformers.models.qwen3 import modeling_qwen3  # noqa: F401

    import postlude.cli.app
    import postlude.launch  # noqa: F401
    from postlude.runs import durable, saving

    torch.set_num_threads(1)
    durable.WAITS = saving.WAITS = (0.001, 0.001)  # nobody makes room meanwhile
    _ = transformers.AutoModelForCausalLM, transformers.AutoTokenizer, transformers.PreTrainedTokenizerFast
    gc.collect()
    gc.freeze()  # children then share these pages for good


@dataclass(frozen=True)
class Started:
    """A command under way."""

    pid: int
    output: Path

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def ended(self) -> bool:
        """Whether it has come to an end, which `wait` then reads."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def wait(self, seconds: float = PATIENCE) -> Ended:
        """Until it ends; it is killed where that takes too long."""
        end, pause = time.monotonic() + seconds, 0.002
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return Ended(os.waitstatus_to_exitcode(status), self.output.read_text(errors="replace"))
            if time.monotonic() > end:
                self.kill()
                os.waitpid(self.pid, 0)
                return Ended(None, self.output.read_text(errors="replace"))
            time.sleep(pause)
            pause = min(1.3 * pause, 0.05)


def nothing() -> None:
    """What is done where nothing is to be done."""


def start(
    place: Path, arguments: Sequence[str], prepare: Callable[[], None] = nothing, after: Callable[[], None] = nothing
) -> Started:
    """Fork; the child calls `prepare` and becomes the command, in the folder `place`. Its output goes to a file.
    `after` is called where the command has come to an end."""
    output = place.with_name(place.name + ".out")
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return Started(pid, output)
    code = 1
    try:
        target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, 1)
        os.dup2(target, 2)
        os.chdir(place)
        prepare()
        code = _command(arguments)
        after()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _command(arguments: Sequence[str]) -> int:
    from postlude.cli import main

    sys.argv = ["postlude", *arguments]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return 0


def command(
    place: Path, arguments: Sequence[str], prepare: Callable[[], None] = nothing, after: Callable[[], None] = nothing
) -> Ended:
    """A command from its start to its end."""
    return start(place, arguments, prepare, after).wait()
