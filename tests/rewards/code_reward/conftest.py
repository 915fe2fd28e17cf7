"""A sandbox for the tests, where the machine has one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from postlude.code.compare import Comparison
from postlude.code.grade import Grading, Result
from postlude.sandbox.backends import SandboxUnavailable, choose
from postlude.sandbox.pool import Pool
from postlude.sandbox.settings import Backend, Limits

SECONDS = 0.5


@pytest.fixture(scope="session")
def backend() -> Backend:
    try:
        return choose("auto", Limits(seconds=SECONDS)).backend
    except SandboxUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def pool(backend: Backend) -> Iterator[Pool]:
    pool = Pool(backend, Limits(seconds=SECONDS, memory=512), 2)
    yield pool
    pool.close()


Grade = Callable[..., list[Result]]


@pytest.fixture
def grade(pool: Pool) -> Grade:
    """(source, cases, how values are compared) -> results."""

    def run(source: str, cases: Any, **how: Any) -> list[Result]:
        return Grading(pool, source, Comparison(**how)).run(cases)

    return run
