"""Stop strings are found where they end, whatever tokens they are made of, here and behind a server."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from postlude.engines.stopping import completes_stop, until_stop
from postlude.models.tiny import character_tokenizer
from tests.models import templates


class Bytes:
    """A tokenizer whose tokens are single bytes; id 256 is a token without any text."""

    def decode(self, ids: Sequence[int], **how: bool) -> str:
        assert not any(how.values()), "nothing is skipped, tidied or put between"
        return bytes(i for i in ids if i < 256).decode("utf-8", "replace")


def where(tokenizer: Any, ids: Sequence[int], stop: Sequence[str]) -> int | None:
    """The number of tokens after which sampling stops."""
    return next((n for n in range(1, len(ids) + 1) if completes_stop(tokenizer, ids[:n], stop)), None)


@pytest.mark.parametrize("stop", ["終", "終わり", "終わりです、以上", "🙂🙂🙂🙂🙂🙂", "é", "a終"])
def test_a_stop_of_many_bytes_is_found_at_its_last(stop: str) -> None:
    ids = [*"長い文章の後で、x".encode(), *stop.encode()]
    after = [*ids, *b"more"]
    assert where(Bytes(), after, [stop]) == len(ids)
    assert until_stop(Bytes(), after, [stop]) == len(ids)


@pytest.mark.parametrize("empty", [1, 7, 40])
def test_tokens_without_text_do_not_hide_a_stop(empty: int) -> None:
    ids = [*b"so E", *[256] * empty, *b"N", *[256] * empty, *b"D"]
    assert where(Bytes(), [*ids, *b"x"], ["END"]) == len(ids)


def test_no_stop_is_no_stop() -> None:
    ids = [*"終わら".encode()]
    assert where(Bytes(), ids, ["終わり"]) is None
    assert until_stop(Bytes(), ids, ["終わり"]) == len(ids) == until_stop(Bytes(), ids, ())


def test_a_stop_within_one_long_token_is_found() -> None:
    found = templates.subword("bytes").tokenizer
    ids = found("The token ends it", add_special_tokens=False).input_ids
    assert max(len(t) for t in found.convert_ids_to_tokens(ids)) > 4, "there are long tokens"
    text = [found.decode(ids[:n]) for n in range(1, len(ids) + 1)]
    for stop in ("oke", "n e", "The", " it", "The token ends it"):
        assert where(found, ids, [stop]) == next(n for n, t in enumerate(text, 1) if stop in t)


def test_spaces_before_signs_are_not_tidied_away() -> None:
    tokenizer = character_tokenizer(string.printable)
    tokenizer.clean_up_tokenization_spaces = True
    ids = tokenizer("so . it", add_special_tokens=False).input_ids
    assert where(tokenizer, ids, [" ."]) == 4


def test_a_special_token_can_be_a_stop() -> None:
    tokenizer = templates.renderer(templates.CHATML).tokenizer
    ids = tokenizer("so<|im_end|>x", add_special_tokens=False).input_ids
    assert where(tokenizer, ids, ["<|im_end|>"]) == 3


def test_a_server_that_goes_on_behind_a_stop_string_is_cut_there(model_folder: Path) -> None:
    from postlude.engines.openai import OpenAISampler
    from postlude.engines.protocol import Request
    from postlude.engines.settings import Sampling, Served
    from postlude.models.load import inspect
    from postlude.models.spec import ModelSpec

    facts = inspect(ModelSpec(str(model_folder)))
    sampler = OpenAISampler(Served("http://localhost:1"), facts.tokenizer, facts.stop_ids, facts.vocabulary)
    ids = facts.tokenizer("12#45", add_special_tokens=False).input_ids
    for finish, last in (("stop", []), ("stop", [facts.tokenizer.eos_token_id]), ("length", [])):
        details = {"token_logprobs": [-1.0] * (len(ids) + len(last))}
        choice = {"token_ids": [*ids, *last], "logprobs": details, "finish_reason": finish}
        found = sampler._completion({"choices": [choice]}, Request((5,), 0), Sampling(max_tokens=8, stop=("2#",)))
        assert (found.text, found.stop, found.tokens, found.logprobs) == ("12#", "string", tuple(ids[:3]), (-1.0,) * 3)
