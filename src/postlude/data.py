"""The one example type: a prompt with one or more completions, each with a reward. Needs no torch.

SFT is a group of one with reward 1; a preference pair is a group of two with rewards 1 and 0; a ranked list,
thumbs up or down and a GRPO group are the same thing with other numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from postlude.errors import TrainingError

Message = Mapping[str, Any]
"""One chat message: at least `role` and `content`."""

Stop = Literal["eos", "string", "length", "data"]
"""Why a completion ended: the model said so, a stop string, the length limit, or it came from a file."""


@dataclass(frozen=True)
class Prompt:
    """What the policy is asked.

    `messages` is plain text or a list of chat messages; `tokens` are its ids as the chat template renders
    them (filled once, by `models.chat`); `columns` holds every other column of the row, for rewards.
    """

    id: str
    messages: str | Sequence[Message]
    answer: Any = None
    columns: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tokens: tuple[int, ...] = ()
    place: str = field(default="", compare=False)
    """Where it was read: file and line."""

    @property
    def text(self) -> str:
        """The prompt as one string, for people to read; never for tokenisation."""
        if isinstance(self.messages, str):
            return self.messages
        return "\n".join(f"{m['role']}: {message_text(m)}" for m in self.messages)


@dataclass(frozen=True)
class Completion:
    """One answer, token by token as it was sampled or tokenised once; never re-tokenised text.

    `sampled[t]` is True where the policy itself sampled token t (False: a tool or environment token); empty where it
    sampled all, see `has_action`. `logprobs[t]` is the sampler's log-prob of token t in nats, at the sampling
    temperature and after top-p and top-k; `reward` is None when nothing could score it; `correct` comes from the reward
    marked `outcome`, or from `reward` against a threshold, before shaping; `steps` are (index of the step's last token,
    reward) pairs of process supervision, a step being anything from a token on. `whole` is the part of `reward` that is
    of the answer as a whole, where the rest stands for the `steps`; None where all of it is. `spans` are (version of
    the policy, index of the first token that it sampled) pairs, in order, as a server that may take new weights in the
    middle of an answer says; empty where all of it is of `policy_version`, else the oldest of them.
    """

    tokens: tuple[int, ...]
    text: str = ""
    sampled: tuple[bool, ...] = ()
    logprobs: tuple[float, ...] | None = None
    stop: Stop = "data"
    reward: float | None = None
    scores: Mapping[str, float | None] = field(default_factory=dict[str, "float | None"])
    correct: bool | None = None
    steps: tuple[tuple[int, float], ...] = ()
    whole: float | None = None
    policy_version: int = 0
    spans: tuple[tuple[int, int], ...] = ()

    @property
    def truncated(self) -> bool:
        """Whether the length limit cut it."""
        return self.stop == "length"

    @property
    def has_action(self) -> tuple[bool, ...]:
        """`sampled` for every token: all True where it is empty."""
        return self.sampled or (True,) * len(self.tokens)

    @property
    def length(self) -> int:
        """How many tokens the policy sampled."""
        return sum(self.has_action)


@dataclass(frozen=True)
class Group:
    """A prompt with its completions: the unit of drawing, filtering and group statistics."""

    prompt: Prompt
    completions: tuple[Completion, ...]

    @property
    def scored(self) -> list[Completion]:
        """The completions that have a reward."""
        return [c for c in self.completions if c.reward is not None]

    @property
    def solve_rate(self) -> float | None:
        """Share of correct completions among those whose correctness is known; None if none is."""
        known = [c.correct for c in self.completions if c.correct is not None]
        return sum(known) / len(known) if known else None


def joined_pair(group: Group) -> Group:
    """Both orders of a pair's answers, each as one sequence: the first answer with its end, then the second.

    The reward is the probability that the answer which stands first is the better one.
    """
    a, b = group.completions

    def behind(first: Completion, second: Completion) -> Completion:
        tokens, sampled = first.tokens + second.tokens, first.has_action + second.has_action
        return Completion(tokens, first.text + second.text, sampled, reward=first.reward)

    return replace(group, completions=(behind(a, b), behind(b, a)))


def message_text(message: Message) -> str:
    """What a message says, for people to read: its content, or the tools it calls."""
    content, calls = message.get("content"), message.get("tool_calls")
    said = [] if content is None else [str(content)]
    return " ".join([*said, json.dumps(calls, ensure_ascii=False, default=str)] if calls else said)


def row_id(row: Mapping[str, Any]) -> str:
    """A short stable name of a row: the hash of its canonical JSON, the same on every machine."""
    canonical = json.dumps(row, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:12]


RESERVED = {
    "prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric", "log_note", "steps",
    "prefixes",
}  # fmt: skip
"""Arguments of reward functions that postlude supplies (TRL's names, and ours); all others are columns of the data."""
ROLLOUT_FIELDS = (
    "prompt_id", "prompt", "answer", "completion", "reward", "scores", "correct", "trained", "stop", "policy_version",
    "tokens", "logprobs", "action", "steps", "step", "spans",
)  # fmt: skip
"""What a row of rollouts/ or eval.jsonl holds by itself."""


def with_columns(ours: Mapping[str, Any], columns: Mapping[str, Any], also: Collection[str] = ()) -> dict[str, Any]:
    """A row of a file: what we say in it, after the columns of the data. A column whose name is taken by that, or by
    `also`, which other rows of the file hold, stands under `data/NAME`: neither replaces the other."""
    taken = {*ours, *also}
    return {**{f"data/{name}" if name in taken else name: value for name, value in columns.items()}, **ours}


def completion_to_json(completion: Completion) -> dict[str, Any]:
    """A completion as plain JSON values; `completion_from_json` reads it back."""
    return dict(vars(completion))  # all values are plain or tuples: no deep copy is needed


def completion_from_json(value: Mapping[str, Any]) -> Completion:
    """The inverse of `completion_to_json`."""
    row = dict(value)
    row["tokens"], row["sampled"] = tuple(row["tokens"]), tuple(row.pop("action", None) or row.get("sampled", ()))
    row["logprobs"] = None if row["logprobs"] is None else tuple(row["logprobs"])
    row["steps"] = tuple((int(end), float(reward)) for end, reward in row["steps"])
    row["spans"] = tuple((int(version), int(first)) for version, first in row.get("spans", ()))
    return Completion(**row)


def groups_to_json(*lists: Sequence[Group]) -> dict[str, Any]:
    """Lists of groups as plain JSON values; a completion that stands in several lists is written once."""
    number: dict[int, int] = {}
    pool: list[dict[str, Any]] = []

    def place(completion: Completion) -> int:
        if id(completion) not in number:
            number[id(completion)] = len(pool)
            pool.append(completion_to_json(completion))
        return number[id(completion)]

    rows = [[[g.prompt.id, [place(c) for c in g.completions]] for g in groups] for groups in lists]
    return {"completions": pool, "lists": rows}


def groups_from_json(value: Mapping[str, Any], prompts: Iterable[Prompt]) -> list[list[Group]]:
    """The inverse of `groups_to_json`, given the prompts. Raises TrainingError where one is no longer there."""
    by_id = {p.id: p for p in prompts}
    lost = [name for rows in value["lists"] for name, _ in rows if name not in by_id]
    if lost:
        raise TrainingError(
            f"the checkpoint holds answers to prompt {lost[0]}, which the data no longer have.",
            code="state-does-not-fit",
        )
    pool = [completion_from_json(c) for c in value["completions"]]
    lists: list[list[tuple[str, list[int]]]] = value["lists"]
    return [[Group(by_id[name], tuple(pool[i] for i in indices)) for name, indices in rows] for rows in lists]
