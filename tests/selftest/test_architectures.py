"""Every check of the self-test on small models of many architectures, in two number formats."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from postlude.selftest.running import Runner
from postlude.selftest.subject import Setup
from postlude.selftest.table import CHECKS

ARCHITECTURES = ("llama", "qwen3", "mistral", "gemma2", "phi3", "gpt2")
OF_PACKED = {"packed", "shared-prompt", "adapter-packed", "prefix-cache"}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_everything_holds(name: str, dtype: str, setup_of: Callable[..., Setup]) -> None:
    results = list(Runner(setup_of(name, dtype)).results(CHECKS))
    assert [r.check.name for r in results] == [c.name for c in CHECKS]
    assert {r.check.name: (r.status, r.reason, r.differences) for r in results if r.status != "ok"} == {}
    assert all({*r.differences} == {*r.check.kinds} for r in results)


def test_what_an_architecture_cannot_do_is_skipped_with_the_reason(setup_of: Callable[..., Setup]) -> None:
    results = list(Runner(setup_of("gpt_neo")).results(CHECKS))
    assert {r.check.name for r in results if r.status == "skipped"} == OF_PACKED
    assert all("does not" in r.reason for r in results if r.status == "skipped")
    assert {r.check.name: r.reason for r in results if r.status == "FAILED"} == {}
