"""Commands of one key: pressed on a terminal, or read as lines where input is none."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from postlude.terminal import Screen


@dataclass(frozen=True)
class Press:
    """A key, and what was said with it: None where nothing was, or where it has not been asked yet."""

    key: str
    text: str | None = None


class Keys(Protocol):
    """Where commands come from. Both raise EOFError at the end of the input."""

    def press(self) -> Press:
        """The next key."""
        ...

    def ask(self, question: str) -> str | None:
        """What a person answers; None where nobody can be asked, or nothing was said."""
        ...


class Lines:
    """Every line is a command: its first letter is the key, the rest what is said with it."""

    def press(self) -> Press:
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        key, _, text = line.strip().partition(" ")
        return Press(key.lower(), text.strip() or None)

    def ask(self, question: str) -> str | None:
        return None


class Terminal:
    """Keys as they are pressed."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def press(self) -> Press:
        import termios
        import tty

        file = sys.stdin.fileno()
        before = termios.tcgetattr(file)
        try:
            tty.setcbreak(file, termios.TCSADRAIN)  # Ctrl-C stays what it is, and what is typed ahead
            key = os.read(file, 1)  # Python's own buffer would keep what is typed ahead from `input`
            if key == b"\x1b":
                key += _rest_of_sequence(file)
        finally:
            termios.tcsetattr(file, termios.TCSADRAIN, before)
        if key in (b"", b"\x04"):
            raise EOFError
        return Press(key.decode(errors="replace").lower())

    def ask(self, question: str) -> str | None:
        self._screen.print(question, end="", soft_wrap=True)
        return input().strip() or None


def _rest_of_sequence(file: int) -> bytes:
    """What an arrow, say, sends behind its escape: one key, and none of ours."""
    rest = b""
    while select.select([file], [], [], 0.02)[0]:
        rest += os.read(file, 1)
        if (len(rest) > 1 and rest[-1:].isalpha()) or rest[-1:] == b"~" or rest[:1] not in (b"[", b"O"):
            break
    return rest


def keys_of(screen: Screen) -> Keys:
    """The terminal where there is one on both sides, else lines of standard input."""
    return Terminal(screen) if sys.stdin.isatty() and screen.is_terminal else Lines()


def one_of(said: str | None, choices: Sequence[str]) -> str | None:
    """What was said, a number standing for a choice (from 1)."""
    if said is not None and said.isdecimal() and 1 <= int(said) <= len(choices):
        return choices[int(said) - 1]
    return said
