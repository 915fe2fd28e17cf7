"""Libraries that load and save models, kept from talking."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class _Hush:
    """What transformers said before the first of those who are at work now asked it to be quiet."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    inside: int = 0
    verbosity: int = 0
    bars: bool = True


_hush = _Hush()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' progress bars, advice and reports of what was loaded off the terminal.

    Its settings are the process's: of several who load at once, in threads or inside one another, the first sets them
    and the last puts them back.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    from transformers.utils import logging

    with _hush.lock:
        if not _hush.inside:
            _hush.verbosity, _hush.bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
            logging.set_verbosity_error()
            logging.disable_progress_bar()
        _hush.inside += 1


def _leave() -> None:
    from transformers.utils import logging

    with _hush.lock:
        _hush.inside -= 1
        if not _hush.inside:
            logging.set_verbosity(_hush.verbosity)
            if _hush.bars:
                logging.enable_progress_bar()
