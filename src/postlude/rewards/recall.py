"""Scores that were paid for once: what identifies a reward, and asking only for what is not kept."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from postlude import __version__
from postlude.data import RESERVED
from postlude.errors import ConfigError
from postlude.rewards.call import Scores
from postlude.rewards.functions import LearnedReward
from postlude.rewards.member import Answers, Memory, Reward, plain

UNCACHED = ("trainer_state", "completion_ids", "prefixes")
"""Arguments that the key of an answer does not hold."""


def memory_of(reward: Reward) -> Memory | None:
    """None for a reward without a cache. Raises ConfigError where its scores cannot be kept."""
    spec = reward.spec
    if not spec.cache:
        return None
    _, named, anything = reward.parameters
    wrong = [name for name in UNCACHED if name in named]
    if reward.per_token:
        raise ConfigError(
            f"reward {spec.label}: cache is set, but it rewards tokens, and one text can be several rows of "
            "tokens. Remove the cache.",
            code="cannot-cache",
        )
    if wrong:
        raise ConfigError(
            f"reward {spec.label}: cache is set, but the function takes {' and '.join(wrong)}, so that its score "
            "is not of prompt, answer and columns alone. Remove the argument, or the cache.",
            code="cannot-cache",
        )
    if reward.traits.compares:
        raise ConfigError(
            f"reward {spec.label}: cache is set, but it scores an answer against the others to its prompt, which "
            "are never the same again. Remove the cache.",
            code="cannot-cache",
        )
    path = Path(spec.cache).expanduser() if isinstance(spec.cache, str) else None
    names = None if anything else frozenset(named - RESERVED)
    return Memory(_identity(reward), path, spec.label, names)


async def recalled(reward: Reward, answers: Answers, ask: Callable[[Answers], Awaitable[Scores]]) -> Scores:
    """What is kept of some answers, and of the others what `ask` gives, which is kept from then on.

    Answers with the same key are asked for once. An abstention is not kept: the next time may be able to score it.
    """
    memory = reward.memory
    assert memory is not None
    keys = [memory.key(*answer) for answer in answers]
    known = memory.cache.get_all(set(keys))
    new = {key: place for place, key in reversed(list(enumerate(keys))) if key not in known}
    places = sorted(new.values())
    fresh = await ask([answers[place] for place in places]) if places else Scores()
    rows = {keys[place]: _row(fresh, n) for n, place in enumerate(places)}
    memory.cache.put_all({key: row for key, row in rows.items() if row["value"] is not None})
    result = _scores([(known | rows)[key] for key in keys])
    result.log(fresh)
    result.kept = sum(key in known for key in keys)
    return result


def _row(scores: Scores, place: int) -> dict[str, Any]:
    """What is kept of one answer. What its function logs as a metric is of a whole call, and cannot be."""
    extra = {name: values[place] for name, values in scores.extra.items()}
    return {"value": scores.values[place], "steps": scores.steps[place], "extra": plain(extra)}


def _scores(rows: list[dict[str, Any]]) -> Scores:
    result = Scores([r["value"] for r in rows], [r["steps"] for r in rows], [True] * len(rows))
    for name in dict.fromkeys(name for r in rows for name in r["extra"]):
        result.extra[name] = [r["extra"].get(name) for r in rows]
    return result


def _identity(reward: Reward) -> Any:
    """What a score depends on beside the answer: another function, arguments, source or model is another reward."""
    spec = reward.spec
    source = _source(reward) if ":" in spec.use else __version__
    return [spec.use, plain(spec.args), source, reward.separator, spec.whole, dict(_files(reward))]


def _source(reward: Reward) -> str:
    """SHA-256 of the file that a user's function stands in. What that imports is not looked at."""
    function = inspect.unwrap(reward.users)
    for thing in (function, type(function)):
        try:
            return hashlib.sha256(Path(inspect.getfile(thing)).read_bytes()).hexdigest()
        except (TypeError, OSError):
            continue
    raise ConfigError(
        f"reward {reward.spec.label}: cache is set, but the file of its function cannot be read.", code="cannot-cache"
    )


def _files(reward: Reward) -> Iterator[tuple[str, Any]]:
    """Size and time of the files that the arguments name: a reward model, what it is measured against, a schema."""
    specs = reward.function.specs if isinstance(reward.function, LearnedReward) else ()
    models = [folder for spec in specs for folder in spec.folders]
    for name in [*models, *(v for v in reward.spec.args.values() if isinstance(v, str))]:
        path = Path(name).expanduser()
        for file in [path] if _is(path) else sorted(path.glob("*.*")) if name in models else []:
            yield str(file), [file.stat().st_size, file.stat().st_mtime_ns]


def _is(path: Path) -> bool:
    """Whether it names a file; any text may be asked about."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
