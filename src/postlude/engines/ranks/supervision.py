"""Ranks that are started again where one is lost, and brought to where they were; or a sentence that says why not."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from postlude.engines.ranks.crew import Blueprint, Crew, Facts, Lasting, Outcome, RankLost, Start, Terms
from postlude.engines.ranks.journal import Change, Journal
from postlude.engines.ranks.tally import Tally
from postlude.errors import EngineError, PostludeError, Stopped, reason
from postlude.exhausted import out_of_memory
from postlude.runs.sealed import unsound
from postlude.waits import waiting
from postlude.words import counted

LOOK = 0.2
"""Seconds between two looks at whether the run is asked to end, while ranks are being started."""
FOLLOWING = ("gather", "save", "require_finite")
"""What is asked once a step is finished."""
GRACE = 30.0
"""Seconds that ranks which are started again still get once the run is asked to end: work would be lost with them."""


def _no(text: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Around:
    """What stands around the ranks of a run."""

    say: Callable[[str], None] = _no
    """Hears of ranks that were lost and of what is done about it: no event, for a run has the same ones without."""
    stopping: Callable[[], bool] = lambda: False
    """Whether the run is asked to end."""
    step: Callable[[], int] = lambda: 0
    """Finished steps of the run."""
    go_on: str = ""
    """The command that goes on from the newest checkpoint."""
    require_unchanged: Callable[[], None] = lambda: None
    """Raises EngineError where what ranks load as they start is not what it was."""


class Exhausted(EngineError):
    """Memory ran out on a rank: the call can be made again once less is taken at a time."""


@dataclass
class Supervision:
    """Calls the ranks. One that is lost costs a restart of all, after which they stand where they stood before."""

    start: Start
    blueprint: Blueprint
    terms: Terms
    journal: Journal = field(default_factory=Journal)
    around: Around = field(default_factory=Around)
    tally: Tally = field(default_factory=Tally)
    limits: tuple[int, int] | None = None
    """(token budget, chunk of the output layer) of all ranks; None until they have chosen."""
    reference: bool = True
    """Whether checkpoints are loaded with a refreshed reference."""
    restarts: int = 0
    """Since the newest finished step."""
    lives: int = 0
    """How often ranks were started."""
    _crew: Crew | None = None
    _facts: Sequence[Facts] = ()
    """Of every rank."""
    _doing: str = "start"
    _deaths: Counter[tuple[int | None, str, int]] = field(default_factory=Counter[tuple[int | None, str, int]])
    """(rank, what it was doing, serial number) -> times, since the newest finished step."""
    _over: EngineError | None = None
    """Why ranks are not started any more."""

    @property
    def facts(self) -> Facts:
        """Of the first, which stands for all."""
        assert self._facts, "no rank was started yet"
        return self._facts[0]

    @property
    def hosts(self) -> int:
        """Machines that the ranks are on."""
        return len({one.host for one in self._facts})

    async def open(self) -> None:
        """Start the ranks; one that is lost meanwhile is made good."""
        while self._crew is None:
            try:
                await self._bring_up()
            except RankLost as lost:
                await self._bury(lost)

    async def close(self) -> None:
        """Leave no process of them, nor of what they ran on."""
        await self._let_go()
        if isinstance(self.start, Lasting):
            await self.start.end()

    async def call(self, method: str, shared: Any = None, each: Sequence[Any] | None = None) -> list[Any]:
        """What every rank says, in their order. Where one is lost they are started again, catch up, and are asked once
        more. Exhausted where memory runs out; EngineError where they cannot go on; Stopped where the run is to end."""
        while True:
            try:
                if self._crew is None:
                    await self._again()
                return await self._ask(method, shared, each)
            except RankLost as lost:
                await self._bury(lost)

    def finished(self) -> None:
        """A step is finished: what was lost before it counts no more."""
        self.restarts = 0
        self._deaths.clear()

    async def use(self, token_budget: int, head_chunk: int) -> None:
        """Take so many tokens at a time from now on, also after a restart."""
        self.limits = token_budget, head_chunk
        if self._crew is not None:
            await self.call("use", self.limits)

    async def load(self, folder: Path, reference: bool) -> None:
        """Take up a checkpoint, and the limits that were in force when it was written; without a refreshed reference
        where `reference` is False."""
        self.journal.begin_from(folder)
        self.reference, self.limits = reference, None
        while True:
            try:
                await self.call("load", (folder, reference))
                self._facts = await self._agree(None)
                return
            except RankLost as lost:
                await self._bury(lost)
            except PostludeError:  # they hold some of it
                await self._let_go()
                raise

    # ------------------------------------------------------------------------------------------------- calls

    async def _let_go(self) -> None:
        """Leave no process of the ranks, which may be started again."""
        crew, self._crew = self._crew, None
        if crew is not None:
            await crew.close()

    async def _ask(self, method: str, shared: Any = None, each: Sequence[Any] | None = None) -> list[Any]:
        assert self._crew is not None
        self._doing = method
        try:
            return await self._crew.call(method, shared, each)
        except PostludeError as error:
            if error.code == "out-of-memory":  # on one of them; the others wait for it
                await self._let_go()
                raise Exhausted(str(error), code=error.code) from error
            if error.code == "rank-raised":  # in the middle of something
                await self._let_go()
            raise  # else by all together: they are sound
        except (MemoryError, RuntimeError) as error:
            await self._let_go()
            if not out_of_memory(error):
                raise
            raise Exhausted(reason(error), code="out-of-memory") from error
        except BaseException:  # of one alone, or we are to end: the others wait for it
            await self._let_go()
            raise

    # ---------------------------------------------------------------------------------------------- restarts

    async def _again(self) -> None:
        """Start the ranks from the newest checkpoint, and let them do again what came after it."""
        if self._over is not None:
            raise self._over
        with self.tally.timing("restart"):
            checkpoint, _ = self.journal.newest()
            if checkpoint is not None:
                await asyncio.to_thread(_require_as_sealed, checkpoint)
            await asyncio.to_thread(self.around.require_unchanged)
            try:
                await self._bring_up(checkpoint)
                for change in self.journal.changes:
                    _require_sound(change, await self._ask(change.method, change.shared, change.each))
            except BaseException:  # nothing is asked of ranks that stand elsewhere than the run, least of all a save
                await self._let_go()
                raise

    async def _bring_up(self, checkpoint: Path | None = None) -> None:
        self._doing, again = "start", self.lives > 0
        self._crew = await self._patiently(again, self._plan(checkpoint))
        self.lives += 1
        if checkpoint is not None:
            await self._ask("load", (checkpoint, self.reference))
        self._facts = await self._agree(self.limits)

    def _plan(self, checkpoint: Path | None) -> Blueprint:
        """What ranks are built from. An adapter has the form that a checkpoint says: the newest, for the one that the
        run went on from may be gone by now."""
        stands_on_one = self.blueprint.checkpoint is not None and checkpoint is not None
        return replace(self.blueprint, checkpoint=str(checkpoint)) if stands_on_one else self.blueprint

    async def _patiently(self, again: bool, plan: Blueprint) -> Crew:
        """Ranks that are at work; none is left where they do not come up, or nobody wants them any more."""
        task = asyncio.ensure_future(self.start(plan))
        left, ranks = GRACE if again else 0.0, counted(self.terms.size, "trainer rank")
        try:
            with waiting(f"the crew of {ranks}", verb="starting", doing=f"starting {ranks}"):
                while not task.done():
                    await asyncio.wait({task}, timeout=LOOK)
                    left -= LOOK if self.around.stopping() else 0.0
                    if left < 0 and not task.done() and self.around.stopping():
                        raise self._stopped(again)
            return task.result()
        except BaseException:
            await _give_up(task)
            raise

    def _stopped(self, again: bool) -> Stopped:
        """Nobody waits for them any more: not for the save at the run's end either."""
        self._over = Stopped("asked to end: no trainer is waited for any more", code="rank-lost")
        if again:
            place = self.journal.newest()[0]
            self.around.say(
                "the run was asked to end while its trainers were being started again: --resume makes again what came "
                f"after {place.name if place else 'its beginning'}"
            )
        return self._over

    async def _agree(self, limits: tuple[int, int] | None) -> Sequence[Facts]:
        """What the ranks are; the smallest limits of any hold for all, or these: sums then round alike."""
        all_facts = cast("list[Facts]", await self._ask("facts"))
        if limits is None:
            settings = [one.settings for one in all_facts]
            limits = min(int(s["token_budget"]) for s in settings), min(int(s["head_chunk"]) for s in settings)
        self.limits = limits
        await self._ask("use", limits)
        return all_facts

    async def _bury(self, lost: RankLost) -> None:
        """End what is left of the ranks. Raises EngineError where they are not worth another start."""
        doing = self._doing
        await self._let_go()
        death = (lost.rank, doing, self.journal.serial)
        self._deaths[death] += 1
        self.restarts += 1
        twice = self._deaths[death] > 1
        if twice or self.restarts > self.terms.restarts:
            self._over = EngineError(self._given_up(lost, doing, twice), code="rank-lost")
            raise self._over from lost
        checkpoint, count = self.journal.newest()[0], len(self.journal.changes)
        place = checkpoint.name if checkpoint else "the beginning"
        rest = f", and {counted(count, 'update')} {'is' if count == 1 else 'are'} made again" if count else ""
        self.around.say(
            f"{_who(lost)} was lost {self._where(doing)} ({_cause(lost)}): all "
            f"{self.terms.size} trainers are started again from {place}{rest}"
        )

    def _where(self, doing: str) -> str:
        """`in update of step 12`; what follows a step is after it."""
        step = self.around.step()
        return f"in {doing} after step {step}" if doing in FOLLOWING and step else f"in {doing} of step {step + 1}"

    def _given_up(self, lost: RankLost, doing: str, twice: bool) -> str:
        often = "twice" if twice else f"{self.restarts} times without a finished step between"
        budget = self.limits[0] if self.limits else 0
        checkpoint = self.journal.newest()[0]
        sound = f"checkpoint {checkpoint.name} is sound" if checkpoint else "no checkpoint was saved yet"
        on = f": {self.around.go_on}" if self.around.go_on and checkpoint else ""
        smaller = f" token_budget={max(1, budget // 2)}" if on and budget else ""
        lower = f"lower engine.token_budget ({budget} now)" if budget else "set engine.token_budget"
        return (
            f"{_who(lost)} died {often} {self._where(doing)} ({_cause(lost)}). Where memory ran "
            f"out, {lower}, take more trainers, engine.gradient_checkpointing=true or model.lora.rank=16. "
            f"{sound[0].upper()}{sound[1:]}{on}{smaller}"
        )


def _require_sound(change: Change, answers: Sequence[Any]) -> None:
    """An update that was sound is, where it is made again: else weights would lack it, and nobody know. EngineError."""
    if not all(answer.sound for answer in answers if isinstance(answer, Outcome)):
        raise EngineError(
            f"update {change.serial} of the ranks was finite, and is not where it is made again after a rank was lost: "
            "a device computes wrong, or does not repeat its sums. The newest checkpoint is sound: go on with "
            "--resume.",
            code="not-finite",
        )


def _require_as_sealed(checkpoint: Path) -> None:
    """Raise EngineError where a checkpoint is not what was saved: ranks would go on from other weights, and nobody
    would see it."""
    flaws = unsound(checkpoint, inside="") if checkpoint.exists() else "it is gone"
    if flaws is not None:
        raise EngineError(
            f"a trainer was lost, and checkpoint {checkpoint.name}, from which all would be started again, is not as "
            f"it was saved: {flaws}. --resume goes on from the newest one that is.",
            code="damaged-run",
        )


def _who(lost: RankLost) -> str:
    return "a trainer" if lost.rank is None else f"trainer rank {lost.rank}"


def _cause(lost: RankLost) -> str:
    return lost.cause or str(lost)


async def _give_up(task: asyncio.Future[Crew]) -> None:
    """Leave nothing of a start: one that had come to its end all the same is closed."""
    task.cancel()
    (done,) = await asyncio.gather(task, return_exceptions=True)
    if not isinstance(done, BaseException):
        await done.close()
