"""Which call fails, in which way, and when: the trials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tests.fake_vllm import CHANGES, Fault

Way = Literal["files", "lora"]
CALLS: Mapping[str, str] = {
    "health": "/health",
    "version": "/version",
    "models": "/v1/models",
    "label read": "/weight_info",
    "answer": "/inference/v1/generate",
    "pause": "/pause",
    "reload": "/collective_rpc",
    "label": "/update_weight_version",
    "resume": "/resume",
    "load adapter": "/v1/load_lora_adapter",
    "unload adapter": "/v1/unload_lora_adapter",
    "sleep": "/sleep",
    "wake": "/wake_up",
    "asleep": "/is_sleeping",
}
"""Name of a call -> its path."""
FOR_EVER = 3600.0
WAYS: Mapping[str, Fault] = {
    "dropped": Fault(drop=True),
    "cut off": Fault(cut=True),
    "status 500": Fault(status=500),
    "status 503": Fault(status=503),
    "status 404": Fault(status=404),
    "status 400": Fault(status=400),
    "no reply": Fault(hang=True),
    "late": Fault(delay=0.3),
    "drips": Fault(drip=0.2),
    "garbage": Fault(body=b"\x00\xffgarbage"),
    "half a JSON": Fault(body=b'{"choices": [{"index": 0, "tok'),
    "no object": Fault(body=b"[]"),
    "not done": Fault(skip=True),
    "died": Fault(die=True),
    **{f"answer: {name}": Fault(change=change) for name, change in CHANGES.items()},
}
"""Name of a way to fail -> what the server does instead. Who died comes back after a moment, with the weights it was
started with and no label."""
HARMLESS = {"late"}
"""Ways that are none: all is as it should be."""


@dataclass(frozen=True)
class Planted:
    """One trial."""

    call: str
    way: str
    at: int = 1
    """Which of these calls fails, from 1 on; of the first server."""
    lasts: bool = False
    """Whether all that follow fail too."""
    servers: int = 1
    lag: int = 0
    publish: Way = "files"
    colocated: Literal[0, 1, 2] = 0
    """How deep the servers sleep while the trainer works on their device; 0 where they have one of their own."""

    @property
    def name(self) -> str:
        """For tables."""
        when = f"from {self.at}" if self.lasts else f"{self.at}"
        more = [f"{self.servers} servers"] * (self.servers > 1) + ["lag 1"] * (self.lag > 0)
        more += ["lora"] * (self.publish == "lora") + [f"colocated, level {self.colocated}"] * (self.colocated > 0)
        return ", ".join([f"{self.call} {when}: {self.way}", *more])

    @property
    def must_finish(self) -> bool:
        """Whether the run has to come to its end: where a server is left, or comes back, after the start."""
        if (self.call, self.way) == ("answer", "status 400"):  # the request is wrong, and would be again
            return False
        return self.way in HARMLESS or (not self.lasts and self.at > 1) or (self.servers > 1 and self.at > 2)


Trial = tuple[Planted, ...]
"""What fails in one run; how many servers there are, and the like, is said by the first."""
BROKEN = ("dropped", "cut off", "status 500", "status 404", "status 400", "no reply", "died")
"""Ways in which any call fails."""
LIES = ("garbage", "half a JSON", "no object", "not done")
"""What answers 200 and is not what was asked for."""
CHANGED = tuple(way for way in WAYS if way.startswith("answer: "))


def trials() -> list[Planted]:
    """All, in the order of the calls; some with two servers, some at lag 1."""
    rows = list[Planted]()
    for number, way in enumerate((*BROKEN, *LIES, "status 503", "late", "drips", *CHANGED)):
        rows.append(Planted("answer", way, at=12, servers=1 + number % 2, lag=number // 2 % 2))
    rows += [Planted("answer", way) for way in ("dropped", "no reply", "garbage", "died", "answer: no spans")]
    for call in ("pause", "reload", "label", "resume"):
        for number, way in enumerate((*BROKEN, *LIES, "status 503", "late")):
            rows.append(Planted(call, way, at=3, servers=1 + number % 2, lag=number // 2 % 2))
        rows.append(Planted(call, "status 500"))
    for way in ("dropped", "status 500", "no reply", "died", "late"):
        rows.append(Planted("health", way, at=3))
    for call in ("version", "models", "label read"):
        rows += [Planted(call, way) for way in ("status 404", "garbage", "no reply")]
    for call in ("load adapter", "unload adapter"):
        rows += [Planted(call, way, at=2, publish="lora") for way in (*BROKEN, "not done", "late")]
    for call in ("sleep", "wake", "asleep"):
        rows += [Planted(call, way, at=2, colocated=1) for way in (*BROKEN, "not done", "late")]
        rows += [Planted(call, way, at=3, colocated=2) for way in ("dropped", "no reply", "died", "not done", "late")]
    return [*rows, *_lasting()]


def _lasting() -> Iterator[Planted]:
    """Servers that stay broken: with another beside them the run ends as if nothing were, else in words."""
    for call in ("answer", "pause", "reload", "label", "resume", "health"):
        alone = Planted(call, "status 500", at=8 if call == "answer" else 3, lasts=True)
        yield from (alone, replace(alone, servers=2))
    yield Planted("answer", "no reply", at=8, lasts=True)
    yield Planted("answer", "answer: unpublished", at=8, lasts=True)
    yield Planted("answer", "answer: unpublished", at=8, lasts=True, servers=2)
    yield Planted("reload", "not done", at=3, lasts=True)
    yield Planted("label", "not done", at=3, lasts=True)


def _each(call: str, ways: Sequence[str], at: int, **more: Any) -> Trial:
    """One way after the other, each of the next of these calls."""
    return tuple(Planted(call, way, at + number, **more) for number, way in enumerate(ways))


def short() -> list[Trial]:
    """A few runs in which every call fails, in every way; several faults each."""
    lora = Planted("load adapter", "no object", 2, publish="lora")
    again = [way for way in (*BROKEN, *LIES, "status 503", "late", "drips") if way not in ("status 400", "died")]
    return [
        _each("answer", CHANGED, 12),
        _each("answer", [*again, "died"], 12, lag=1),
        (Planted("pause", "dropped", 2), Planted("reload", "status 500", 3), Planted("resume", "no reply", 4)),
        (Planted("label", "cut off", 2), Planted("resume", "not done", 2)),
        (Planted("reload", "not done", 2), Planted("label", "half a JSON", 3), Planted("pause", "garbage", 3)),
        (lora, Planted("unload adapter", "cut off")),
        tuple(Planted(call, way, 1, colocated=1) for call, way in (("sleep", "status 500"), ("wake", "dropped"))),
        tuple(Planted(call, way, 2, colocated=2) for call, way in (("asleep", "status 404"), ("wake", "not done"))),
        (Planted("health", "status 500"),),
        (Planted("answer", "status 400", 1),),
        (Planted("version", "garbage"),),
        (Planted("models", "status 404"),),
        (Planted("label read", "no object"),),
        (Planted("reload", "not done", 3, lasts=True),),
        (Planted("answer", "answer: unpublished", 8, lasts=True, servers=2),),
    ]
