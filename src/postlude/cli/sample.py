"""postlude sample"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from postlude.cli import options as opt
from postlude.cli.options import SamplingOptions, require_read
from postlude.data import Completion, Group, Prompt
from postlude.errors import ConfigError
from postlude.terminal import Screen, bold, dim, joined
from postlude.words import counted

if TYPE_CHECKING:
    from postlude.cli.session import Session
    from postlude.cli.waiting import Waiting
    from postlude.rewards.rewards import Rewards


SendsChat = Annotated[
    bool | None,
    typer.Option(help="Send text as a user message. Default: as the run did; else --prompt where there is a template."),
]


def sample(
    context: typer.Context,
    model: opt.Model,
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", "-p", help="A prompt; can be given several times.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="A file of prompts instead (JSONL, CSV, Parquet).")] = None,
    columns: opt.Columns = None,
    count: opt.Count = 1,
    max_tokens: opt.MaxTokens = None,
    temperature: opt.Temperature = None,
    top_p: opt.TopP = None,
    top_k: opt.TopK = None,
    stop: opt.Stop = None,
    chat: SendsChat = None,
    seed: opt.Seed = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many prompts of --data.")] = None,
    url: opt.Url = None,
    served_model: opt.ServedModel = None,
    servers: opt.Servers = None,
    servers_python: opt.ServersPython = None,
    best_by: Annotated[
        str | None,
        typer.Option(help="Best of n: only the answer with the highest reward of each prompt (a built-in or path)."),
    ] = None,
    reward_args: Annotated[str | None, typer.Option(help="Arguments of a built-in --best-by, as YAML.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per answer.")] = False,
) -> None:
    """Let a model answer prompts.

    postlude sample runs/grpo-1 --prompt '123412=' -n 4
    postlude sample my-model --data prompts.jsonl --limit 5 --temperature 0 --json
    postlude sample runs/sft-1 --data prompts.jsonl -n 16 --best-by model --reward-args '{path: runs/reward_model-1}'
    postlude sample my-model --servers 1 --data prompts.jsonl -n 64 --best-by math
    postlude sample my-model --url http://localhost:8000/v1 --data prompts.jsonl -n 8 --json
    """
    from postlude.cli.scoring import rewards_of
    from postlude.cli.session import Named, Session, notes_of_cut
    from postlude.cli.waiting import tell

    if bool(prompt) == bool(data):
        raise ConfigError("give either --prompt (once or more) or --data FILE.", code="missing-option")
    if not data:
        require_read(context, "there is no --data", "columns", "limit")
    if not best_by:
        require_read(context, "there is no --best-by", "reward_args")
    options = SamplingOptions(max_tokens, temperature, top_p, top_k, stop, url, served_model, servers, servers_python)
    rewards = lambda: rewards_of([best_by] if best_by else [], reward_args)
    session = Session.of(Named(data or None, model, options, rewards, columns, chat, limit=limit))
    prompts = session.answerable(session.prompts() if data else _typed(session, prompt or []))
    with session.progress() as waiting:
        inbox = InOrder(lambda group: _show(group, as_json, waiting))
        groups = asyncio.run(session.answers(prompts, count, seed, "sample", _quietly if best_by else inbox.add))
    for group in _best(groups, session.rewards) if best_by else ():
        _print(group, as_json)
    if not as_json:  # there every row says why it stopped
        tell(notes_of_cut(groups))


def _typed(session: Session, texts: Sequence[str]) -> list[Prompt]:
    """The prompts of --prompt, as text or as the message of a user."""
    chat = session.named.chat
    if problems := session.rewards.missing_columns(set()):
        raise ConfigError(problems)
    if chat is None:
        chat = _is_chat(session)
    return [Prompt(str(i), [{"role": "user", "content": x}] if chat else x) for i, x in enumerate(texts)]


def _is_chat(session: Session) -> bool:
    """Whether a typed prompt is a user's message: as the prompts of the model's own run were, else by its template."""
    from postlude.cli.opening import form_of_prompts
    from postlude.cli.waiting import tell

    path = session.policy.model.path
    form = form_of_prompts(session.named.model or "")
    if form is not None:
        return form == "messages"
    has_template = bool(session.opened.facts.tokenizer.chat_template)
    if has_template and (Path(path).expanduser() / "config.yaml").exists():
        tell([f"{path} does not say whether its prompts were chat: sent as a user's message (--no-chat sends text)"])
    return has_template


@dataclass
class InOrder:
    """Passes groups on in the order of their prompts, each as soon as those before it are there."""

    take: Callable[[Group], None]
    waiting: dict[int, Group] = field(default_factory=dict[int, Group])
    next: int = 0

    def add(self, place: int, group: Group) -> None:
        self.waiting[place] = group
        while self.next in self.waiting:
            self.take(self.waiting.pop(self.next))
            self.next += 1


def _quietly(place: int, group: Group) -> None:
    """The best answer is known only once all are there."""


def _show(group: Group, as_json: bool, waiting: Waiting) -> None:
    with waiting.aside():
        _print(group, as_json)


def _best(groups: list[Group], rewards: Rewards) -> list[Group]:
    """The first of the best answers of each prompt; prompts whose answers were all unscorable keep none."""
    scored = asyncio.run(rewards.score(groups)).groups
    best = [replace(g, completions=(max(g.scored, key=lambda c: c.reward or 0.0),)) for g in scored if g.scored]
    if lost := len(scored) - len(best):
        Screen(stderr=True).print(f"{lost} of {counted(len(scored), 'prompt')}: no answer could be scored")
    return best


def _print(group: Group, as_json: bool) -> None:
    for completion in group.completions:
        _print_answer(group, completion, as_json)


def _print_answer(group: Group, completion: Completion, as_json: bool) -> None:
    if as_json:
        row = {"prompt": group.prompt.messages, "completion": completion.text}
        row |= {"reward": completion.reward} if completion.reward is not None else {}
        print(json.dumps({**row, "stop": completion.stop, "tokens": completion.length}), flush=True)
        return
    console = Screen()
    console.print(joined(dim(group.prompt.text), " "), end="", soft_wrap=True)
    score = f", reward {completion.reward:g}" if completion.reward is not None else ""
    how = dim(f"{completion.stop}, {counted(completion.length, 'token')}{score}")
    console.print(joined(bold(completion.text), "  ", how), soft_wrap=True)
