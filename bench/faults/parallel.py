"""Trials in a few processes at a time."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Row = dict[str, Any]
Task = Callable[[Path], Iterator[Row]]
"""Makes trials in a folder that is its own while it does so."""


def run(tasks: Sequence[Task], root: Path, jobs: int, title: str) -> list[Row]:
    """The rows of all tasks, in their order. Each of `jobs` forked processes takes the next task that is free."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    workers = [_fork(tasks, root, number) for number in range(jobs)]
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    with Progress(*columns, transient=True) as progress:
        bar = progress.add_task(title, total=len(tasks))
        for pid in workers:
            while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
                progress.update(bar, completed=len([*root.glob("*.rows")]))
                time.sleep(0.3)
            if os.waitstatus_to_exitcode(ended[1]):
                raise RuntimeError(f"{title}: a process that made trials ended with {ended[1]}")
    return [json.loads(line) for n in range(len(tasks)) for line in (root / f"{n}.rows").read_text().splitlines()]


def _fork(tasks: Sequence[Task], root: Path, number: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        for index, task in enumerate(tasks):
            try:
                os.close(os.open(root / f"{index}.taken", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            rows = "".join(json.dumps(row) + "\n" for row in task(root / f"place-{number}"))
            (root / f"{index}.rows").write_text(rows)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
