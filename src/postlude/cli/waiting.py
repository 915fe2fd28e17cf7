"""What a command shows while a model works: a line that moves on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.status import Status
from rich.text import Text

from postlude.terminal import Screen
from postlude.waits import Watchdog
from postlude.watch.live import duration
from postlude.words import counted

if TYPE_CHECKING:
    from postlude.engines.protocol import Progress, Sampler

FIRST_LINE = 15.0
"""Seconds before the first line where there is no terminal; the next ones come after twice as long each, up to
`LAST_LINE`."""
LAST_LINE = 120.0
REFRESH = 5.0
"""Times a second that the moving line is drawn."""
SPINNER = 3
"""Columns that it takes beside the text."""


class Waiting:
    """Says on standard error what is being done, and for how long. Use as a context manager."""

    def __init__(self, doing: str) -> None:
        self.doing, self._detail, self._whom = doing, "", ""
        self._console = Screen(stderr=True)
        self._began = self._asked = time.monotonic()
        self._over = threading.Event()
        self._status = None
        if self._console.is_terminal:
            self._status = Status(self._line(), console=self._console, refresh_per_second=REFRESH)
        self._lines: threading.Thread | None = None

    def __enter__(self) -> Waiting:
        if self._status:
            self._status.start()
        else:
            self._lines = threading.Thread(target=self._tell, daemon=True)
            self._lines.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        if self._status:
            self._status.stop()
        if self._lines:
            self._lines.join()

    def say(self, detail: str) -> None:
        """How far it has come."""
        self._detail, self._whom = detail, ""
        self._update()

    def wait_for(self, whom: str) -> None:
        """Who is waited for, until there is more to say."""
        self._whom = whom
        self._update()

    def _update(self) -> None:
        if self._status:
            self._status.update(self._line())

    def count(self, done: int, total: int, what: str) -> None:
        """How many of how many, and how long the rest takes at this rate."""
        spent = time.monotonic() - self._began
        left = f", {duration(spent / done * (total - done))} left" if 0 < done < total else ""
        self.say(f"{done} of {total} {what}{left}")

    def hear(self, progress: Progress) -> None:
        """What a sampler has done so far. A report of nothing begins it, long after the call where servers start."""
        if not progress.tokens:
            self._asked = time.monotonic()
        rate = progress.tokens / max(time.monotonic() - self._asked, 1e-9)
        answers = f"{progress.finished} of {progress.total} answers" if progress.total > 1 else "1 answer"
        self.say(f"{answers}, {counted(progress.tokens, 'token')}, {rate:.0f} a second")

    def note(self, text: str) -> None:
        """A line that stays."""
        with self.aside():
            tell([text])

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Take the moving line away while something else is printed."""
        if self._status:
            self._status.stop()
        yield
        if self._status:
            self._status.start()

    def _text(self) -> str:
        if self._whom:
            return self._whom
        return f"{self.doing}: {self._detail}" if self._detail else self.doing

    def _line(self) -> Text:
        """One line of the terminal: what wraps is drawn again below itself."""
        text = Text(" ".join(self._text().split()))
        text.truncate(max(1, self._console.width - SPINNER), overflow="ellipsis")
        return text

    def _tell(self) -> None:
        pause = FIRST_LINE
        while not self._over.wait(pause):
            pause = min(2 * pause, LAST_LINE)
            spent = duration(time.monotonic() - self._began)
            self._console.print(f"{self._text()} ({spent} so far)", soft_wrap=True)


@contextmanager
def sampling(sampler: Sampler, doing: str = "sampling") -> Iterator[Waiting]:
    """Show the progress of a sampler for as long as the context is open."""
    before = sampler.on_progress
    with Waiting(doing) as waiting, Watchdog(waiting.note, waiting.wait_for):
        sampler.on_progress = waiting.hear
        try:
            yield waiting
        finally:
            sampler.on_progress = before


def tell(notes: Sequence[str]) -> None:
    """Say on standard error what a user should know of the data or the model."""
    for note in notes:
        Screen(stderr=True).print(f"note: {note}", soft_wrap=True)
