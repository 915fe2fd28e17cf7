"""What stands in the tables of several commands: headings, numbers, intervals."""

from __future__ import annotations

from rich.console import Console

from postlude.terminal import bold, joined


def heading(console: Console, text: str) -> None:
    """In a line of its own, after an empty one."""
    console.print(joined("\n", bold(text)), soft_wrap=True)


def number(value: float | None, form: str = ".3f") -> str:
    """`-` for none; what is rounded to 0 has no sign."""
    if value is None:
        return "-"
    text = f"{value:{form}}"
    return text.lstrip("-") if float(text) == 0 and "+" not in form else text


def interval(value: float | None, low: float | None = None, high: float | None = None, form: str = ".3f") -> str:
    """`0.500  0.400 to 0.600`; the value alone where its interval is not known."""
    if value is None or low is None or high is None:
        return number(value, form)
    return f"{number(value, form)}  {number(low, form)} to {number(high, form)}"
