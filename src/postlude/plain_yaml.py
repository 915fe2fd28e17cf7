"""YAML that holds nothing but text, numbers, true and false, lists and mappings: what recipes and their overrides are.

Read from the nodes of the document, so that every value has its line, and every mistake of a document is a sentence:
tags that make objects, cycles, aliases that multiply, keys that are no text or are given twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from postlude.errors import Problem, visible

MAX_TEXT = 200_000
"""Characters of a document: a second of reading."""
MAX_DEPTH = 50
"""Mappings and lists inside each other."""
MAX_VALUES = 100_000
"""Values of a document, those that aliases repeat among them."""
MAX_SAID = 20
"""Mistakes of a document in one error."""
MAX_DIGITS = 100
"""Of a whole number."""
_TAG = "tag:yaml.org,2002:"
_FLOAT = re.compile(
    r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_INT = re.compile(r"^[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+)$")
_BOOL = re.compile(r"^(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$")
_READ: dict[str, Callable[[str], Any]] = {
    "bool": lambda text: {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}[text],
    "int": lambda text: int(text, 0),
    "float": lambda text: float(text.replace(".inf", "inf").replace(".nan", "nan")),
}
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class Loader(yaml.SafeLoader):
    """1e-6 is a number (YAML 1.1 reads text); 2024-01-01, 1:30 and 010 are text (it reads a date, 90 and 8)."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Recursive, so that depth is counted here."""
        self.depth += 1
        if self.depth > MAX_DEPTH + 1:
            raise _Refused(self.peek_event(), f"lists and mappings stand more than {MAX_DEPTH} deep in each other")
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


class Dumper(yaml.SafeDumper):
    """Puts into quotes what `Loader` would read as something else than text."""


Loader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in (
    ("bool", _BOOL, "yYnNtTfFoO"),
    ("int", _INT, "-+0123456789"),
    ("float", _FLOAT, "-+0123456789."),
    ("null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("merge", re.compile(r"^<<$"), "<"),
):
    Loader.add_implicit_resolver(_TAG + _name, _pattern, [*_first])
    if _name in ("int", "float"):
        Dumper.add_implicit_resolver(_TAG + _name, _pattern, [*_first])


def dump(values: Any, **style: Any) -> str:
    """Values as YAML that `parse` reads back as they are."""
    return yaml.dump(values, Dumper=Dumper, sort_keys=False, **style)


@dataclass
class Parsed:
    """The values of a document, the line of each dotted path, and what is wrong with it, in sentences."""

    values: Any = None
    lines: dict[str, int] = field(default_factory=dict[str, int])
    problems: list[tuple[int, Problem]] = field(default_factory=list[tuple[int, Problem]])
    """(line, clause)."""
    is_yaml: bool = True
    """False where the text is not YAML at all: on the command line it is then plain text."""

    def at(self, name: str) -> list[Problem]:
        """What is wrong, as sentences with the lines of the file of that name."""
        return [Problem(p.code, f"{p}.", key=p.key).at(f"{name} line {line}") for line, p in self.problems]


def parse(text: str) -> Parsed:
    """A document. Never raises: what is wrong stands in `problems`."""
    result = Parsed()
    if len(text) > MAX_TEXT:
        return Parsed(
            problems=[(1, Problem("not-plain-yaml", f"it has {len(text):,} characters (limit {MAX_TEXT:,})"))]
        )
    try:
        root = yaml.compose(text, Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return _not_yaml(mark.line + 1 if mark else 1, str(error.problem))
    except yaml.YAMLError as error:  # a character that YAML does not allow
        return _not_yaml(1, " ".join(str(error).split()))
    except _Refused as error:
        return Parsed(problems=[(error.line, error.problem)])
    if root is not None:
        try:
            result.values = _Reader(result).value(root, "")
        except _Refused as error:
            result.problems.append((error.line, error.problem))
    return result


def _not_yaml(line: int, why: str) -> Parsed:
    return Parsed(problems=[(line, Problem("not-yaml", f"not YAML: {why}"))], is_yaml=False)


def load(text: str) -> Any:
    """The values of a document. Raises ValueError with every mistake and its line."""
    parsed = parse(text)
    if parsed.problems:
        said = [f"line {line}: {sentence}" for line, sentence in parsed.problems[:MAX_SAID]]
        more = len(parsed.problems) - len(said)
        raise ValueError("; ".join([*said, *([f"and {more} more"] if more else [])]))
    return parsed.values


class _Refused(Exception):
    def __init__(self, node: Any, text: str) -> None:
        self.line = node.start_mark.line + 1
        self.problem = Problem("not-plain-yaml", text)
        super().__init__(text)


class _Reader:
    """Nodes to plain values."""

    def __init__(self, result: Parsed) -> None:
        self.lines, self.problems = result.lines, result.problems
        self.open: set[int] = set()
        """Nodes that are being read: one that turns up again inside itself has no end."""
        self.count = 0

    def value(self, node: Any, path: str) -> Any:
        if id(node) in self.open:
            raise _Refused(node, f"{path or 'the document'} holds itself by an alias, which has no end")
        self.count += 1
        if self.count > MAX_VALUES:
            raise _Refused(node, f"the document holds more than {MAX_VALUES:,} values, aliases written out")
        self.open.add(id(node))
        kind = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.ScalarNode):
            value = self._scalar(node, kind, path)
        elif isinstance(node, yaml.SequenceNode) and kind == "seq":
            value = [self._at(inner, f"{path}.{i}") for i, inner in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode) and kind == "map":
            value = self._mapping(node, path)
        else:
            value = self._foreign(node, path)
        self.open.discard(id(node))
        return value

    def _at(self, node: Any, path: str) -> Any:
        self.lines[path] = node.start_mark.line + 1
        return self.value(node, path)

    def _foreign(self, node: Any, path: str) -> None:
        tag = node.tag.replace(_TAG, "!!")
        self._say(node, f"{path or 'the document'} has the tag {tag}; only text, numbers, lists and mappings are read")

    def _say(self, node: Any, sentence: str, code: str = "not-plain-yaml") -> None:
        self.problems.append((node.start_mark.line + 1, Problem(code, visible(sentence))))

    def _mapping(self, node: Any, path: str) -> dict[str, Any]:
        """Merged mappings (`<<`) lie under the mapping's own keys."""
        result: dict[str, Any] = {}
        written: set[str] = set()
        for key, inner in node.value:
            if key.tag == _TAG + "merge":
                result = self._merged(inner, path) | result
        for key, inner in node.value:
            if key.tag == _TAG + "merge":
                continue
            if not isinstance(key, yaml.ScalarNode):
                self._say(key, f"a key of {path or 'the document'} is a list or mapping; keys are text")
                continue
            name = key.value
            below = f"{path}.{name}" if path else name
            if name in written:
                self._say(key, f"{below} is given twice, first in line {self.lines[below]}", "given-twice")
            written.add(name)
            self.lines[below] = key.start_mark.line + 1
            result[name] = self.value(inner, below)
        return result

    def _merged(self, node: Any, path: str) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for part in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(part, yaml.MappingNode):
                result = self.value(part, path) | result
            else:
                self._say(node, f"<< in {path or 'the document'} takes a mapping, or a list of them")
        return result

    def _scalar(self, node: Any, kind: str, path: str) -> Any:
        text: str = node.value
        if _SURROGATE.search(text):
            self._say(node, f"{path or 'the document'} holds text that is not Unicode")
            return None
        if kind == "str":
            return text
        if kind == "null":
            return None
        if kind not in _READ:
            return self._foreign(node, path)
        if len(text) > MAX_DIGITS and kind == "int":
            self._say(node, f"{path or 'the document'} is a number of {len(text)} digits")
            return None
        try:
            return _READ[kind](text.lower().replace("_", ""))
        except (KeyError, ValueError):
            self._say(node, f"{path or 'the document'}: {text[:40]!r} is not a {kind}")
            return None
