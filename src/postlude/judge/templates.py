"""What a judge is asked, as Jinja templates that users can replace; text of others stands between marks.

A template sees `prompt`, `answer` (or `answers`, or `first` and `second`), `rubric`, the `row` it belongs to, and
`fenced(label, text)`, which puts text between two lines with a number that the text itself cannot hold.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, TemplateSyntaxError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from postlude.data import message_text
from postlude.errors import ConfigError, RewardError, reason

FOLDER = Path(__file__).with_name("templates")
LONGEST = 100_000
"""Characters of a template."""
_CONTROL = re.compile(
    r"<[|\uff5c][^<>|\uff5c\n]{1,40}[|\uff5c]>|</?(?:s|think|thinking|reasoning|tool_call|tool_response)>"
    r"|<(?:bos|eos|pad|unk|mask|start_of_turn|end_of_turn)>|\[/?[A-Z][A-Z_]{2,30}\]|\[g?MASK\]|\[gMASK\]|<</?SYS>>"
)
"""What chat models read as the border of a turn or of a thought."""


def _environment() -> ImmutableSandboxedEnvironment:
    """A template comes from a user, but what it is filled with comes from a model."""
    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )


@dataclass(frozen=True)
class Template:
    """A question to a judge."""

    source: str
    where: str
    """For messages: its file."""

    @classmethod
    def of(cls, given: str | None, default: str) -> Template:
        """The file `given`, or the built-in of that name. Raises ConfigError where it cannot be read."""
        path = Path(given).expanduser() if given else FOLDER / f"{default}.jinja"
        try:
            return cls(path.read_text(encoding="utf-8"), str(path) if given else f"built-in {default}")
        except (OSError, ValueError) as error:  # not UTF-8, or a NUL in the name
            raise ConfigError(f"template {str(path)!r} cannot be read: {error}.", code="cannot-read") from error

    def __post_init__(self) -> None:
        self._parsed()

    def _parsed(self) -> nodes.Template:
        if len(self.source) > LONGEST:
            raise ConfigError(
                f"template {self.where}: {len(self.source):,} characters (limit {LONGEST:,}).", code="bad-template"
            )
        try:
            _environment().from_string(self.source)  # finds unknown filters, which parsing alone does not
            return _environment().parse(self.source)
        except TemplateSyntaxError as error:
            raise ConfigError(
                f"template {self.where} line {error.lineno}: {error.message}.", code="bad-template"
            ) from error
        except (ValueError, ArithmeticError, RecursionError, MemoryError, SyntaxError) as error:
            raise ConfigError(
                f"template {self.where}: no program can be made of it: {reason(error)}.", code="bad-template"
            ) from error

    def check(self, known: Iterable[str], shown: Iterable[str] = ()) -> None:
        """Every name that it uses is one of `known`, and all of `shown` are used."""
        known = {*known, "fenced", "row"}
        used = meta.find_undeclared_variables(self._parsed())
        lacking = sorted({*shown} - used)
        if lacking:
            raise ConfigError(
                f"template {self.where} does not show {' and '.join(lacking)}: every question would be the same.",
                code="bad-template",
            )
        unknown = sorted(used - known)
        if unknown:
            raise ConfigError(
                f"template {self.where} uses {', '.join(unknown)}; there are {', '.join(sorted(known))}. A column of "
                "the data is row.NAME.",
                code="bad-template",
            )

    @property
    def columns(self) -> set[str]:
        """Columns of the data that it reads as `row.NAME` or `row['NAME']`."""
        of_row = lambda n: isinstance(n.node, nodes.Name) and n.node.name == "row"
        parsed = self._parsed()
        named = {n.attr for n in parsed.find_all(nodes.Getattr) if of_row(n)}
        items = [n.arg for n in parsed.find_all(nodes.Getitem) if of_row(n)]
        return named | {str(arg.value) for arg in items if isinstance(arg, nodes.Const)}

    @property
    def hash(self) -> str:
        """Twelve hex digits that name this text in records."""
        return hashlib.sha256(self.source.encode()).hexdigest()[:12]

    def render(self, special: Iterable[str] = (), **values: Any) -> str:
        """The question. `special`: texts that the judge's tokenizer reads as control tokens."""
        fence = Fence(values, special)
        try:
            return _environment().from_string(self.source).render(fenced=fence.around, **values).strip()
        except Exception as error:  # whatever a user's template does
            if "Fence.around" in str(error):
                raise RewardError(
                    f"template {self.where}: fenced takes a name and a text: fenced('answer', answer).",
                    code="bad-template",
                ) from error
            raise RewardError(
                f"template {self.where}: {type(error).__name__}: {error}.", code="bad-template"
            ) from error


class Row:
    """The columns of a row for a template: by name only, so that none is hidden behind a method of a dictionary."""

    def __init__(self, columns: Mapping[str, Any]) -> None:
        self._columns = columns

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._columns:
            raise AttributeError(name)
        return self._columns[name]

    def __getitem__(self, name: str) -> Any:
        return self._columns[name]

    def __repr__(self) -> str:
        return repr(dict(self._columns))


class Fence:
    """Marks around text that nobody vouches for.

    The number in the marks comes from a hash of all that stands between them: whoever writes the text cannot know it,
    and the same question has the same marks again, so that a cache can find it.
    """

    def __init__(self, values: Mapping[str, Any], special: Iterable[str] = ()) -> None:
        self.number = hashlib.sha256(repr(sorted(values.items())).encode("utf-8", "surrogatepass")).hexdigest()[:12]
        self.special = sorted((s for s in special if s.strip()), key=len, reverse=True)

    def around(self, label: str, text: Any) -> str:
        """`text` between marks, without anything that could be taken for a mark or for the border of a turn."""
        return f"[{label} {self.number}]\n{self.defused(as_text(text))}\n[end of {label} {self.number}]"

    def defused(self, text: str) -> str:
        """A space inside whatever has a meaning to the machine; all else stays as it was written."""
        text = text.replace(self.number, f"{self.number[:6]} {self.number[6:]}")
        broken: Callable[[re.Match[str]], str] = lambda m: f"{m[0][0]} {m[0][1:]}"
        text = _CONTROL.sub(broken, text)
        for token in self.special:
            text = text.replace(token, f"{token[0]} {token[1:]}") if len(token) > 1 else text
        return text


def as_text(value: Any) -> str:
    """Text as it is; messages as lines that say who speaks."""
    if isinstance(value, list | tuple) and all(isinstance(m, Mapping) and "role" in m for m in value):
        return "\n".join(f"{m['role']}: {message_text(m)}" for m in value)
    return value if isinstance(value, str) else str(value)
