"""What of the test's objects the program may not change: their methods, and what a mock keeps of its calls.

A program may call what it is handed, read and set attributes that hold data, and change containers. With a method
replaced, or a mock's book of calls rewritten, it would answer what the test asks of its own objects.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

_NAMES = (
    "called call_count call_args call_args_list mock_calls method_calls awaited await_count await_args "
    "await_args_list return_value side_effect mock_add_spec reset_mock configure_mock attach_mock"
)
_BOOKS = frozenset(_NAMES.split())
"""Attributes of a mock with which the test says and asks what happens to it."""


def is_mock(thing: Any) -> bool:
    module = sys.modules.get("unittest.mock")
    return module is not None and isinstance(thing, module.NonCallableMock)


def is_kept(thing: Any, name: str) -> bool:
    """Whether the attribute of a mock is the test's alone."""
    return is_mock(thing) and (name in _BOOKS or name.startswith("assert_"))


def is_method(thing: Any, name: str) -> bool:
    """Whether the object's class has a method of that name, or something like one."""
    member = inspect.getattr_static(type(thing), name, None)
    return callable(member) or (hasattr(type(member), "__get__") and not hasattr(type(member), "__set__"))
