"""Which part of an answer is its program."""

from __future__ import annotations

import pytest

from postlude.code.program import program_of


@pytest.mark.parametrize(
    ("answer", "program"),
    [
        ("```python\nx = 1\n```", "x = 1\n"),
        ("```py\nx = 1\n```", "x = 1\n"),
        ("```Python3 title=a\nx = 1\n```", "x = 1\n"),
        ("~~~python\nx = 1\n~~~", "x = 1\n"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("First\n```python\na\n```\nthen\n```python\nb\n```\nDone.", "b\n"),
        ("```python\na\n```\nIt prints\n```\n3\n```", "a\n"),
        ("```python\na\n```\nRun it:\n```bash\npython a.py\n```", "a\n"),
        ("<think>\n```python\na\n```\n</think>\n\n```python\nb\n```", "b\n"),
        ("a</think>\n```python\nb\n```", "b\n"),
        ("````python\nx = '''\n```\n'''\n````", "x = '''\n```\n'''\n"),
        ("```python\r\nx = 1\r\n```\r\n", "x = 1\n"),
        # no program
        ("", None),
        ("x = 1", None),
        ("```python\nx = 1", None),
        ("```python\n```", None),
        ("```bash\nls\n```", None),
        ("<think>\n```python\na\n```", None),
        ("```python\na\n```\n</think> I do not know.", None),
    ],
)
def test_the_program_of_an_answer(answer: str, program: str | None) -> None:
    assert program_of(answer) == program


def test_an_answer_without_a_block_is_a_program_only_where_that_is_asked_for() -> None:
    assert program_of("x = 1", "optional") == "x = 1"
    assert program_of("</think>x = 1", "optional") == "x = 1"
    assert program_of("```python\nx = 1", "optional") is None
    assert program_of("  ", "optional") is None
