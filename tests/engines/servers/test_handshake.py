"""A server that samples from something else than what is trained is refused, with the cause where it can be told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from postlude.engines.servers.fleet import Member
from postlude.engines.servers.handshake import EXACT, HALF, Handshake, Limits
from postlude.engines.servers.publishing import Adapters, Files
from postlude.models.lora import Lora
from tests.conftest import build
from tests.engines.servers.publishing import Stage, with_members
from tests.fake_vllm import CHANGES, FakeServer, Fault
from tests.fake_vllm.server import GENERATE

RELOAD = "/collective_rpc"


@pytest.fixture
def stage(model_folder: Path, tmp_path: Path) -> Stage:
    one = Stage(model_folder, tmp_path)
    one.at(0)
    return one


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def shaken(stage: Stage, fake: FakeServer, version: int = 0, length: int = 256, model: str = "policy") -> Any:
    """The handshake, or the sentence of refusal."""
    agreed, refused = with_members([fake], lambda members: stage.handshakes(length).shake(members, version), model)
    return agreed[0][1] if agreed else refused[0][1]


def started(stage: Stage, servers: ExitStack, folder: Path | None = None, **options: Any) -> FakeServer:
    fake = servers.enter_context(FakeServer(folder or stage.shelf.at(0), **options))
    fake.at.label = "0"
    return fake


def test_the_same_weights_agree(stage: Stage, servers: ExitStack) -> None:
    result = shaken(stage, started(stage, servers))
    assert isinstance(result, Handshake)
    assert result.largest < 1e-5 and 0 <= result.mean <= result.largest and result.tokens >= 16 and result.seconds > 0


def test_a_server_is_asked_what_shows_a_difference(stage: Stage, servers: ExitStack) -> None:
    """At another temperature than 1, after ids that are always the same, within the longest sequence."""
    fake = started(stage, servers, max_model_len=30)
    assert isinstance(shaken(stage, fake, length=30), Handshake)
    (body, *_) = fake.bodies(GENERATE)
    assert body["sampling_params"]["temperature"] == 0.7
    assert len(body["token_ids"]) == 14 and body["sampling_params"]["max_tokens"] == 16
    assert stage.handshakes().requests() == stage.handshakes().requests()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"raw": True}, r"differ .* it gives those of temperature 1, whatever .* --logprobs-mode processed_logprobs"),
        ({"quantised": True}, r"differ .* by up to .* nats \(mean .*\) at version 0: it serves a(nother| quantised)"),
        ({"name": "other"}, r"serves other, and no 'policy': another model, or one .* --served-model-name policy"),
        ({"max_model_len": 100}, r"takes sequences of 100 tokens, and prompts .* up to 256. .* --max-model-len 256"),
    ],
)
def test_a_server_that_was_started_otherwise_is_refused(
    options: dict[str, Any], said: str, stage: Stage, servers: ExitStack
) -> None:
    assert re.search(said, shaken(stage, started(stage, servers, **options)))


def test_another_model_is_refused(stage: Stage, servers: ExitStack, tmp_path: Path, tokenizer: Any) -> None:
    from postlude.models.tiny import save_tiny_model

    save_tiny_model(tmp_path / "other", seed=5, layers=2, width=64, heads=2, spread=0.5)
    text = shaken(stage, started(stage, servers, tmp_path / "other"))
    assert re.search(r"log-probs of the same \d+ tokens differ .* it serves another model", text)


def test_another_vocabulary_is_refused(stage: Stage, servers: ExitStack) -> None:
    fake = started(stage, servers)
    fake.next(GENERATE, Fault(change=CHANGES["a strange id"]))
    assert "has another vocabulary: it sampled id 1000000, and the model in training has" in shaken(stage, fake)


def test_a_label_that_nobody_gave_is_refused(stage: Stage, servers: ExitStack) -> None:
    fake = started(stage, servers)
    assert "calls its weights '0', and was to have version 3" in shaken(stage, fake, 3)
    fake.next(GENERATE, Fault(change=lambda reply: reply["choices"][0]["weight_versions"][0].update(version="9")))
    assert "answered with weights it calls 9, and was to have version 0" in shaken(stage, fake)


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(drop=True), Fault(change=CHANGES["no log-probs"])])
def test_one_that_does_not_answer_is_refused(fault: Fault, stage: Stage, servers: ExitStack) -> None:
    fake = started(stage, servers)
    fake.next(GENERATE, fault)
    assert "does not answer the handshake: " in shaken(stage, fake)


def published(
    stage: Stage, fakes: list[FakeServer], *versions: int
) -> tuple[list[tuple[Member, Handshake]], list[Any]]:
    """After each of these by files; the same handshakes throughout."""

    async def go(members: list[Member]) -> Any:
        handshakes, result = stage.handshakes(), None
        for version in versions:
            folder = stage.shelf.at(0) if version == 0 else stage.at(version)
            await Files().publish(members, version, folder)
            result = await handshakes.shake(members, version)
        return result

    return with_members(fakes, go)


def test_a_server_that_says_it_took_the_weights_and_kept_the_old_is_told_from_the_others(
    stage: Stage, servers: ExitStack
) -> None:
    fakes = [started(stage, servers), started(stage, servers)]
    fakes[0].next(RELOAD, Fault(), Fault(skip=True))
    agreed, refused = published(stage, fakes, 0, 1)
    assert [member.name.split()[1] for member, _ in agreed] == ["2"]
    assert re.search(r"server 1 .* at version 1: it still samples from version 0, though", refused[0][1])


def test_weights_that_never_came_are_found_where_a_step_moves_less_than_is_allowed(
    stage: Stage, servers: ExitStack
) -> None:
    fakes = [started(stage, servers), started(stage, servers)]
    fakes[0].next(RELOAD, Fault(), Fault(skip=True))

    async def go(members: list[Member]) -> Any:
        handshakes, files = stage.handshakes(), Files()
        await files.publish(members, 0, stage.shelf.at(0))
        assert len((await handshakes.shake(members, 0))[0]) == 2
        with torch.no_grad():
            for p in stage.engine.model.net.parameters():
                p.mul_(1 + 1e-4)
        await files.publish(members, 1, stage.shelf.place(1))
        return await handshakes.shake(members, 1)

    agreed, refused = with_members(fakes, go)
    assert [member.name.split()[1] for member, _ in agreed] == ["2"] and agreed[0][1].largest < 1e-5
    assert re.search(
        r"server 1 .* by up to (\d\.?\d*e-05|0\.000\d*) nats .* it still samples from version 0, though", refused[0][1]
    )


def test_weights_that_did_not_move_may_be_answered_from_as_before(stage: Stage, servers: ExitStack) -> None:
    agreed, refused = published(stage, [started(stage, servers)], 0, 0)
    assert len(agreed) == 1 and not refused


def test_a_tied_model_whose_head_stays_is_refused_though_every_call_is_answered_with_200(
    model_folder: Path, tmp_path: Path, servers: ExitStack
) -> None:
    """From the folder that the policy starts from, as a server that runs already would be; from that of a version, in
    which both matrices are, it goes well."""
    stage = Stage(model_folder, tmp_path)
    both, tied = (started(stage, servers, folder, tied_head=True) for folder in (stage.shelf.place(0), model_folder))
    agreed, refused = published(stage, [both, tied], 0, 1)
    assert [member.name.split()[1] for member, _ in agreed] == ["1"]
    said = rf"and it agreed before: it was started from {model_folder}, whose output layer is its embedding, .*served/"
    assert re.search(said, refused[0][1])


def test_an_adapter_is_compared_under_its_name(model_folder: Path, tmp_path: Path, servers: ExitStack) -> None:
    stage = Stage(model_folder, tmp_path, Lora(rank=4))
    fake = servers.enter_context(FakeServer(model_folder))

    async def two(members: list[Member]) -> Any:
        publisher, handshakes = Adapters(), stage.handshakes()
        for version in (1, 2):
            assert not await publisher.publish(members, version, stage.at(version))
            agreed, _ = await handshakes.shake(members, version)
            assert len(agreed) == 1
        members[0].model = "v1"
        return await handshakes.shake(members, 2)

    _, refused = with_members([fake], two)
    assert "it still samples from version 1" in refused[0][1]


# --------------------------------------------------------------------------------- when the trainer has moved on


@pytest.mark.parametrize("lora", [None, Lora(rank=4)], ids=["whole", "adapter"])
def test_a_server_that_comes_back_is_compared_with_what_is_on_the_shelf(
    model_folder: Path, tmp_path: Path, servers: ExitStack, lora: Lora | None
) -> None:
    stage = Stage(model_folder, tmp_path, lora)
    publisher = Adapters() if lora else Files()
    fakes = [servers.enter_context(FakeServer(model_folder)) for _ in range(2)]

    async def go(members: list[Member]) -> list[Any]:
        handshakes, frozen = stage.handshakes(), stage.shelf.read
        assert not await publisher.publish(members[:1], 1, stage.at(1))
        stage.at(2)  # the trainer's are others from here on
        right, moved = await handshakes.shake(members[:1], 1, frozen(1)), await handshakes.shake(members[:1], 1)
        assert not await publisher.publish(members[1:], 1, stage.shelf.at(2))
        return [right, moved, await handshakes.shake(members[1:], 1, frozen(1))]

    (right, why), (_, moved), (_, other) = with_members(fakes, go)
    assert not why
    assert right[0][1].largest < 1e-5 and right[0][1].tokens >= 16
    assert "log-probs of the same" in moved[0][1] and "log-probs of the same" in other[0][1]


# ------------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("limits", "errors", "holds"),
    [
        (EXACT, [9e-4] * 16, True),
        (EXACT, [0.0] * 15 + [1.1e-3], False),
        (HALF, [0.0] * 15 + [0.49], True),
        (HALF, [0.0] * 15 + [0.51], False),
        (HALF, [0.06] * 16, False),
        (HALF, [0.0, float("nan")], False),
    ],
)
def test_the_limits(limits: Limits, errors: list[float], holds: bool) -> None:
    assert limits.hold(torch.tensor(errors)) is holds


def test_answers_that_end_at_once_are_asked_for_until_there_are_enough(
    tmp_path: Path, tokenizer: Any, servers: ExitStack
) -> None:
    net = build("llama")
    with torch.no_grad():
        net.lm_head.weight.zero_()
        net.model.norm.weight.fill_(1.0)
        net.lm_head.weight[1] = 0.02  # the id that ends answers is the likelier the larger the sum of the hidden state
    net.save_pretrained(tmp_path / "short")
    tokenizer.save_pretrained(tmp_path / "short")
    stage = Stage(tmp_path / "short", tmp_path / "run")
    stage.shelf.place(0)
    fake = started(stage, servers)
    result = shaken(stage, fake, length=64)
    assert isinstance(result, Handshake) and result.tokens >= 16
