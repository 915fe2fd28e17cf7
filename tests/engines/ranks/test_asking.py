"""Who is waited for, and who is the cause: without processes."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Sequence
from typing import Any

import pytest

from postlude.engines.ranks import asking
from postlude.engines.ranks.asking import Answer, Unreached, answers_of, values_of
from postlude.engines.ranks.child import Done, Raised, answer
from postlude.engines.ranks.crew import RankLost
from postlude.engines.ranks.supervisor import Ended
from postlude.errors import EngineError, RewardError, TrainingError
from postlude.waits import under_way

ENDED = Ended("signal 9 (SIGKILL); 0.2 GB of the machine's memory was free", "the last words", "run/ranks/rank-1.log")
LOST = Raised(
    EngineError("trainer rank 0 raised RuntimeError: Connection reset by peer", code="rank-raised"), False, True
)
ODD = Raised(EngineError("trainer rank 2 raised ValueError: odd", code="rank-raised"), False)
OURS = Raised(TrainingError("weights are not finite", code="not-finite"), True)
NAMES = ["trainer rank 0 on host a", "trainer rank 1 on host a", "trainer rank 2 on host b"]


async def sent(value: Answer, seconds: float = 0.0) -> Any:
    """As an actor passes it on."""
    await asyncio.sleep(seconds)
    return pickle.dumps(value) if isinstance(value, Done | Raised) else value


def asked(*answers: Answer) -> list[Any]:
    """What comes of asking three ranks, of which one that is None never answers."""

    async def ask() -> list[Any]:
        waits = [sent(one) if one is not None else sent(Done(0), 600.0) for one in answers]
        given = await answers_of(waits, NAMES, "an optimiser step", 30.0)
        return values_of(given, NAMES, "an optimiser step")

    return asyncio.run(ask())


def test_values_come_in_the_order_of_ranks() -> None:
    assert asked(Done(1), Done(None), Done(3)) == [1, None, 3]


@pytest.mark.parametrize(
    ("answers", "kind", "rank", "text"),
    [
        ((LOST, ENDED, LOST), RankLost, 1, "trainer rank 1 on host a died when asked for an optimiser step: signal 9"),
        ((LOST, ENDED, None), RankLost, 1, "The end of its log (run/ranks/rank-1.log):\nthe last words"),
        ((OURS, ENDED, OURS), RankLost, 1, "rank 1"),
        ((LOST, LOST, Unreached("its host is gone")), RankLost, 2, "on host b died"),
        ((LOST, None, LOST), RankLost, 1, "trainer rank 1 on host a lost touch with the others"),
        ((LOST, LOST, LOST), RankLost, None, "the trainer ranks lost touch with the others"),
        ((OURS, OURS, OURS), TrainingError, None, "weights are not finite"),
        ((LOST, OURS, None), TrainingError, None, "weights are not finite"),
        ((LOST, LOST, ODD), EngineError, None, "trainer rank 2 raised ValueError: odd"),
        ((None, None, ODD), EngineError, None, "trainer rank 2 raised ValueError: odd"),
    ],
)
def test_the_cause_is_told_and_not_who_waited_for_it(
    answers: Sequence[Answer], kind: type[EngineError], rank: int | None, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "GRACE", 0.2)
    with pytest.raises(kind) as caught:
        asked(*answers)
    assert type(caught.value) is kind and text in str(caught.value)
    if isinstance(caught.value, RankLost):
        assert caught.value.rank == rank


def test_who_is_silent_is_told() -> None:
    async def ask() -> None:
        await answers_of([sent(Done(1)), sent(Done(2), 600.0)], NAMES[:2], "a checkpoint", 0.2)

    with pytest.raises(RankLost, match=r"rank 1 on host a gave no sign for 0 s when asked for a checkpoint") as caught:
        asyncio.run(ask())
    assert caught.value.rank == 1 and caught.value.cause.startswith("silent for")


def test_who_is_waited_for_is_shown() -> None:
    async def ask() -> list[str]:
        one, other = asyncio.Event(), asyncio.Event()

        async def after(event: asyncio.Event) -> Answer:
            await event.wait()
            return Done(0)

        asked = asyncio.ensure_future(answers_of([after(one), after(other)], NAMES[:2], "an optimiser step", 60.0))
        shown: list[str] = []
        for event in (one, other):
            await asyncio.sleep(0)
            while not under_way():
                await asyncio.sleep(0)
            shown.append(under_way()[0].text(under_way()[0].since))
            event.set()
            await asyncio.sleep(0.05)
        await asked
        return shown

    first, second = asyncio.run(ask())
    assert first == "trainer rank 0 on host a (and 1 more) has been asked for 0 s for an optimiser step"
    assert second == "trainer rank 1 on host a has been asked for 0 s for an optimiser step"


def test_the_look_around_may_end_it() -> None:
    def look() -> None:
        raise RankLost("Ray has ended on this machine (exit code 1)", code="rank-lost")

    async def ask() -> None:
        await answers_of([sent(Done(0), 600.0)], NAMES[:1], "log-probs", 60.0, look)

    with pytest.raises(RankLost, match="Ray has ended"):
        asyncio.run(ask())


def raising(error: Exception) -> Any:
    raise error


def test_what_a_rank_raises_on_purpose_travels_whole() -> None:
    error = pickle.loads(pickle.dumps(answer(lambda: raising(RewardError("so", "do this", code="reward-raised")), 0)))
    assert error.ours and error.error.what == "so" and error.error.code == "reward-raised"


def test_what_it_raises_otherwise_is_a_sentence_with_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = answer(lambda: raising(ValueError("odd")), 3)
    assert isinstance(wrong, Raised) and not wrong.ours and not wrong.lost
    assert str(wrong.error).startswith("trainer rank 3 raised ValueError: odd, at ") and "in raising" in str(
        wrong.error
    )
    assert "Traceback" in capsys.readouterr().err and "Traceback" not in str(wrong.error)
    memory = answer(lambda: raising(MemoryError()), 0)
    assert isinstance(memory, Raised) and memory.error.code == "out-of-memory"
    broken = answer(lambda: raising(RuntimeError("[gloo/transport/tcp/pair.cc:537] Read error: Connection reset")), 0)
    assert isinstance(broken, Raised) and broken.lost
