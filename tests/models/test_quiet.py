"""Loading a model says nothing but what postlude says."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers.utils import logging

from postlude.models.load import load
from postlude.models.quiet import quiet
from postlude.models.spec import ModelSpec


@pytest.fixture(autouse=True)
def _talkative() -> object:
    before = logging.get_verbosity()
    logging.set_verbosity_warning()
    yield
    logging.set_verbosity(before)


def test_of_several_at_once_the_last_puts_back_what_was() -> None:
    """As in two threads: the first to come is the first to go."""
    first, second = quiet(), quiet()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert logging.get_verbosity() == logging.ERROR, "somebody is still loading"
    second.__exit__(None, None, None)
    assert logging.get_verbosity() == logging.WARNING
    assert logging.is_progress_bar_enabled()


def test_an_error_puts_back_what_was() -> None:
    with pytest.raises(KeyError), quiet():
        raise KeyError
    assert logging.get_verbosity() == logging.WARNING


def test_transformers_reports_nothing_of_a_head_that_is_new(
    model_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from transformers import AutoModelForSequenceClassification

    AutoModelForSequenceClassification.from_pretrained(model_folder, num_labels=1)
    assert "LOAD REPORT" in caplog.text, "by itself it would"
    caplog.clear()
    load(ModelSpec(str(model_folder)), scalar=True)
    assert not caplog.records
