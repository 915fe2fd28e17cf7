"""From a recipe to what a run needs, checked: data, rewards and tokenizer. `build` makes engine and streams of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from postlude.check_data import key_of, missing_columns, read_held_out, read_pretrain, read_set, read_sheet
from postlude.check_metrics import metrics_of, plan_metrics
from postlude.check_ranks import problems_of_ranks
from postlude.check_servers import problems_of_servers
from postlude.data import Group, Prompt
from postlude.engines.protocol import Chat
from postlude.engines.settings import ChatSpec, ImplicitSpec, ScorerSpec
from postlude.errors import ConfigError, DataError, Problem
from postlude.models.adapters import is_adapter
from postlude.models.chat import Renderer
from postlude.models.heads import is_scorer
from postlude.models.load import Facts, inspect, problems_of_path
from postlude.models.opening import problems_of_weights
from postlude.models.spec import ModelSpec, Refreshed
from postlude.models.steps import ends, prefixes
from postlude.objectives import Need, TokenObjective
from postlude.prepared import Prepared
from postlude.recipe import Document, Recipe, in_order, resolve_with_problems, unread
from postlude.recipe.places import missing
from postlude.recipe.ranking import notes as notes_on_ranks
from postlude.rewards.functions import JudgedReward, LearnedReward
from postlude.rewards.rewards import Rewards
from postlude.rollouts.shaping import HistoryLength
from postlude.runs.checkpoints import latest_model
from postlude.runs.durable import problems_of_output
from postlude.signals import uncorrected, unmet
from postlude.words import counted

if TYPE_CHECKING:
    from postlude.engines.local.scorer import LocalScorer


MOST_COMPARED = 100_000
"""Prompts, trained and held out, that are looked at for near-duplicates before a run: some seconds."""


def check(document: Document) -> Prepared:
    """Recipe, data, rewards, tokenizer and model config: everything wrong with any of them is raised at once.

    No weights are read. Tokenizer and model config, which take seconds to read, come where the recipe itself is right.
    """
    recipe, problems = resolve_with_problems(document)
    gone_places = missing(document.values, document) if document.run else []
    if recipe is None or gone_places:
        raise ConfigError(gone_places or in_order(problems))
    recipe, gone = _of_a_run(recipe)
    problems += gone + (problems_of_output(recipe.output) if recipe.output else [])
    prepared = Prepared(recipe)
    prepared.notes += document.notes + unread(recipe, recipe.algorithm, document) + notes_on_ranks(recipe)
    problems += prepare(prepared, look_up=not problems)
    if problems:
        raise ConfigError(in_order(problems))
    return prepared


def _of_a_run(recipe: Recipe) -> tuple[Recipe, list[Problem]]:
    """A run folder as the model, or the critic, is its newest checkpoint: a path that a resumed run finds again."""
    try:
        recipe = replace(recipe, model=replace(recipe.model, path=latest_model(recipe.model.path)))
    except ConfigError as error:
        return recipe, [problem.within("model: ") for problem in error.problems]
    if recipe.critic is None or recipe.critic.path is None:
        return recipe, []
    try:
        return replace(recipe, critic=replace(recipe.critic, path=latest_model(recipe.critic.path))), []
    except ConfigError as error:
        return recipe, [problem.within("critic.path: ") for problem in error.problems]


def prepare(prepared: Prepared, look_up: bool = True) -> list[Problem]:
    """Fill `prepared` from its recipe: rewards, tokenizer and config, data. Returns every problem found."""
    recipe = prepared.recipe
    problems: list[Problem] = []

    def attempt(step: Callable[[], Any]) -> Any:
        try:
            return step()
        except (ConfigError, DataError) as error:
            problems.extend(error.problems)
            return None

    prepared.rewards = attempt(lambda: Rewards.of(recipe.reward))
    prepared.metrics = attempt(lambda: metrics_of(recipe)) or Rewards([])
    if look_up and recipe.model.path:
        prepared.facts = attempt(lambda: inspect(recipe.model, recipe.sampling.stop))
    elif recipe.model.path:
        problems += problems_of_path(recipe.model.path)
    if Need.SCORES in recipe.objective.needs and recipe.model.lora and is_adapter(recipe.model.path):
        problems.append(
            Problem(
                "adapter-cannot-stack",
                f"model: {recipe.model.path!r} is a LoRA adapter, and a reward model cannot put another on top of it. "
                "Merge it first (postlude export), or leave out model.lora.",
            )
        )
    problems += problems_of_ranks(prepared) + problems_of_servers(prepared)
    if prepared.facts and (Need.SCORES in recipe.objective.needs or not is_scorer(prepared.facts.config)):
        problems += _problems_of_weights(prepared)
    elif prepared.facts:
        problems.append(
            Problem(
                "reward-model-cannot-write",
                f"model: {recipe.model.path!r} is a reward model, which cannot write; {recipe.method} trains one that "
                "does. Give the model it was made from, and the reward model as a reward: "
                "{use: model, args: {path: ...}}.",
            )
        )
    if prepared.facts:
        prepared.notes += prepared.facts.notes
        prepared.renderer = Renderer(prepared.facts.tokenizer, prepared.facts.stop_ids)
    if prepared.rewards:
        facts = prepared.facts
        for rewards in (prepared.rewards, prepared.metrics):
            equip(rewards, facts and facts.tokenizer, facts and facts.stop_ids)
        attempt(lambda: _plan_judges(prepared))
        prepared.rewards.correct_above = recipe.correct_above
        problems += unmet(recipe, prepared.rewards)
    prepared.notes += uncorrected(recipe)
    seen: Counter[str] = Counter()
    for place in range(len(recipe.data.sets)):
        attempt(lambda place=place: read_set(prepared, place, seen))
    if recipe.data.eval:
        attempt(lambda: read_held_out(prepared))
    attempt(lambda: read_sheet(prepared))
    attempt(lambda: _plan_metrics(prepared))
    if recipe.pretrain:
        attempt(lambda: read_pretrain(prepared))
    prepared.notes += _unseen_tools(prepared) + _same_reference(recipe) + _nearly_shared(prepared)
    return problems + missing_columns(prepared) + _wrong_template(prepared) + _shared(prepared) + _sizes(prepared)


def _sizes(prepared: Prepared) -> list[Problem]:
    """What is larger than the model or the data: an error, or a note where it means something."""
    recipe, problems = prepared.recipe, list[Problem]()
    width = getattr(prepared.facts.config.get_text_config(), "hidden_size", None) if prepared.facts else None
    if recipe.model.lora and width and recipe.model.lora.rank > width:
        problems.append(
            Problem(
                "sizes-conflict",
                f"model.lora.rank is {recipe.model.lora.rank}, but the model is {width} wide: a rank above that does "
                "no more. Lower it, or train all weights (model.lora=null).",
            )
        )
    rows_there = len(prepared.prompts) or len(prepared.items)
    if rows_there and recipe.prompts_per_step > rows_there and not recipe.data.mix:
        what = "prompt" if prepared.prompts else "row"
        prepared.notes.append(
            f"prompts_per_step is {recipe.prompts_per_step}, and there {'is' if rows_there == 1 else 'are'} "
            f"{counted(rows_there, what)}: each step takes some of them more than once"
        )
    taken = recipe.steps * recipe.prompts_per_step
    if any(isinstance(one, HistoryLength) for one in recipe.shaping) and prepared.prompts and taken <= rows_there:
        prepared.notes.append(
            "shaping history_length compares an answer with earlier ones to its prompt, and the run takes none of its "
            f"{counted(rows_there, 'prompt')} twice ({taken:,} in all): it has no effect. Take fewer prompts, or more "
            "steps"
        )
    if Need.MISMATCHED in recipe.objective.needs and prepared.items:
        if len({group.prompt.tokens for group in prepared.items}) < 2:
            problems.append(
                Problem(
                    "method-needs",
                    f"{recipe.method} takes its reference point from answers to other prompts, and all rows have the "
                    "same one. Give rows of at least two prompts.",
                )
            )
    return problems


def _unseen_tools(prepared: Prepared) -> list[str]:
    """Rewards that ask another model show it messages, and no tools."""
    asking = (
        [m for m in prepared.rewards.members if isinstance(m.function, LearnedReward | JudgedReward)]
        if prepared.rewards
        else []
    )
    if not any(p.columns.get("tools") for p in prepared.prompts) or not asking:
        return []
    return [f"reward {m.spec.label}: its model reads the prompts without their tools" for m in asking]


def _same_reference(recipe: Recipe) -> list[str]:
    """A reference that is refreshed after every step is the policy itself in a step of one update."""
    reference, objective = recipe.model.reference, recipe.objective
    once = recipe.updates * recipe.epochs == 1 and isinstance(objective, TokenObjective)
    if not once or not isinstance(reference, Refreshed) or (reference.every, reference.mix) != (1, 1.0):
        return []
    return [
        "model.reference: refreshed after every step, and a step is one update: the policy is compared with itself, "
        "so the KL to the reference is always 0. Take a larger `every`, or several updates a step"
    ]


def _problems_of_weights(prepared: Prepared) -> list[Problem]:
    """Of the policy and of a critic that starts elsewhere."""
    recipe, config = prepared.recipe, prepared.facts.config
    scores = Need.SCORES in recipe.objective.needs
    problems = problems_of_weights(recipe.model.path, config, scores, recipe.model.lora)
    if recipe.critic and recipe.critic.path:
        path = recipe.critic.path
        try:
            found = inspect(replace(recipe.model, path=path, lora=None, chat_template=None)).config
            problems += problems_of_weights(path, found, scalar=True, what="critic.path")
        except ConfigError as error:
            problems += [problem.without("model: ").within("critic.path: ") for problem in error.problems]
    return problems


def _plan_judges(prepared: Prepared) -> None:
    """What judges will be asked, and whether one of them is of the policy's own kind and may like its own style."""
    recipe = prepared.recipe
    for member in prepared.rewards.members:
        if not isinstance(member.function, JudgedReward):
            continue
        member.function.plan(recipe.steps, recipe.prompts_per_step, recipe.group_size, recipe.sampling.max_tokens)
        if member.function.compares and recipe.group_size == 1:
            raise ConfigError(
                f"reward {member.spec.label}: mode {member.function.mode} compares the answers to a prompt, and "
                "group_size is 1. Take mode: score, or a larger group.",
                code="method-needs",
            )
        _look_at_judge(prepared, member.function, f"reward {member.spec.label}")


def _plan_metrics(prepared: Prepared) -> None:
    """The same of metrics, once the held-out prompts are known."""
    plan_metrics(prepared)
    for member in prepared.metrics.members:
        if isinstance(member.function, JudgedReward):
            _look_at_judge(prepared, member.function, f"evaluate.metrics: {member.spec.label}")


def _look_at_judge(prepared: Prepared, function: JudgedReward, name: str) -> None:
    spec = function.asker.spec
    if spec.url is None:
        judge = require_writer(spec.model)
        prepared.notes += [f"{name}: {note}" for note in judge.notes]
        kind = judge.config.model_type
        if prepared.facts and kind == prepared.facts.config.model_type:
            function.warning = f"judge and policy are both {kind}: judges tend to like their own kind's style"


def require_writer(path: str) -> Facts:
    """What is known of a model that can write, weights unread; a reward model is refused. Raises ConfigError."""
    path = latest_model(path)
    facts = inspect(ModelSpec(path))
    if is_scorer(facts.config):
        raise ConfigError(
            f"judge: {path!r} is a reward model, which cannot write. As a reward it is `model`.",
            code="reward-model-cannot-write",
        )
    problems = problems_of_weights(path, facts.config, what="judge")
    if problems:
        raise ConfigError(problems)
    return facts


def open_scorer(spec: ScorerSpec) -> LocalScorer:
    """A reward model with its weights, in this process; a policy with its reference is one too."""
    if isinstance(spec, ImplicitSpec):
        from postlude.engines.local.implicit import ImplicitScorer

        return ImplicitScorer.open(spec)
    from postlude.engines.local.scorer import LocalScorer

    return LocalScorer.open(spec)


def open_chat(spec: ChatSpec) -> Chat:
    """A language model to ask: behind a server where there is a URL, else with its weights in this process."""
    if spec.url:
        from postlude.engines.chat import ServedChat

        return ServedChat(spec)
    from postlude.engines.local.chat import LocalChat

    return LocalChat.open(replace(spec, model=latest_model(spec.model)))


def equip(rewards: Rewards, tokenizer: Any, stop_ids: frozenset[int] | None = None) -> None:
    """Tell rewards what they cannot know themselves: how other models are run, and where steps end in tokens (one of
    `stop_ids` may end an answer)."""
    for member in rewards.members:
        if isinstance(member.function, LearnedReward):
            member.function.open = open_scorer
        if isinstance(member.function, JudgedReward):
            member.function.asker.open = open_chat
    if tokenizer is not None:
        rewards.ends = lambda completion, separator: ends(tokenizer, completion.tokens, separator, stop_ids)
        rewards.prefixes = lambda completion: prefixes(tokenizer, completion.tokens, completion.text)


def _wrong_template(prepared: Prepared) -> list[Problem]:
    """A chat template of another model: what it writes around turns is letters to this tokenizer."""
    if prepared.renderer is None:  # the tokenizer was not read, where something else is to mend first
        return []
    rows = [*prepared.prompts, *(g.prompt for g in prepared.items)][:1]
    if not any(not isinstance(p.messages, str) for p in rows):
        return []
    doubled = _doubled_start(prepared)
    if doubled:
        return [doubled]
    turns, stops = prepared.renderer.turns, prepared.recipe.sampling.stop
    foreign = ", ".join(map(repr, turns.foreign[:3]))
    whose = "model.chat_template" if prepared.recipe.model.chat_template else "the chat template"
    if turns.foreign and turns.unused:
        return [
            Problem(
                "wrong-template",
                f"{whose}: it writes {foreign} around turns, which this tokenizer reads as letters, and none of the "
                f"tokens that it has for that ({', '.join(map(repr, turns.unused[:4]))}): it is the template of "
                f"another model. {_mend_template(prepared.recipe)}",
                key="model.chat_template",
            )
        ]
    ending = next((text for text in turns.foreign if turns.end_text.lstrip().startswith(text)), None)
    if ending is None or any(stop in turns.end_text for stop in stops):
        return []
    return [
        Problem(
            "wrong-template",
            f"{whose}: it ends the assistant's turn with {ending!r}, which is no token of this tokenizer but letters, "
            f"so nothing would end an answer. {_mend_template(prepared.recipe)} Or end answers at that text: "
            f"sampling.stop='[{ending!r}]'.",
            key="model.chat_template",
        )
    ]


def _doubled_start(prepared: Prepared) -> Problem | None:
    """Rows that begin with two BOS tokens: the template and something else write one each."""
    bos, rows = prepared.facts.tokenizer.bos_token_id, [*prepared.prompts, *(g.prompt for g in prepared.items)]
    doubled = [p for p in rows if bos is not None and p.tokens[:2] == (bos, bos)]
    if not doubled:
        return None
    return Problem(
        "control-tokens",
        f"{len(doubled)} of {counted(len(rows), 'row')} begin with {prepared.facts.tokenizer.bos_token} twice, first "
        f"{doubled[0].place or 'the first row'}: take one out of the chat template (model.chat_template) or the text.",
    )


def _mend_template(recipe: Recipe) -> str:
    if recipe.model.chat_template:
        return "Leave model.chat_template out to take the tokenizer's own, or give one made for this tokenizer."
    return "Give the template that belongs to the model (model.chat_template, a Jinja file)."


def _shared(prepared: Prepared) -> list[Problem]:
    """Held-out prompts that are also trained on, but for case and white space; of plain text the whole rows."""
    recipe = prepared.recipe
    rows = [*prepared.prompts, *prepared.items]
    sets = [(key_of(prepared, one), rows, one.prompts or one.judged) for one in prepared.eval_sets]
    sets.append(("pretrain.eval", prepared.pretrain, prepared.pretrain_held_out))
    problems: list[Problem] = []
    for name, trained, held_out in sets:
        words = {_words(row) for row in trained} - {""}
        both = [row for row in held_out if _words(row) in words]
        if both:
            problems.append(
                Problem(
                    "held-out-overlap",
                    f"{name}: {len(both)} of {len(held_out)} held-out prompts are also trained on, so they "
                    f"would measure memory: first {_words(both[0])[:60]!r}{_place_of(both[0])}. Remove them from one "
                    f"of the files{' (both are the same file)' if recipe.data.eval == recipe.data.path else ''}.",
                    key=name.partition(",")[0],
                )
            )
    return problems


def _nearly_shared(prepared: Prepared) -> list[str]:
    """Held-out prompts that differ by a few words from one that is trained on."""
    rows: list[Prompt | Group] = [*prepared.prompts, *prepared.items]
    sets = {key_of(prepared, one): one.prompts or one.judged for one in prepared.eval_sets}
    count = sum(map(len, sets.values()))
    if not count or not rows:
        return []
    if len(rows) + count > MOST_COMPARED:
        return [
            f"data.eval: {len(rows) + count:,} prompts are more than are looked at for near-duplicates at a "
            "start; postlude data check FILE --eval FILE does that"
        ]
    from postlude.screening.entries import Entry
    from postlude.screening.repeats import of_leaks

    def entries(some: Sequence[Prompt | Group]) -> list[Entry]:
        return [Entry(_place_of(row).strip(" ()"), _words(row)) for row in some]

    trained = entries(rows)
    leaks = [(name, leak) for name, held_out in sets.items() for leak in of_leaks(trained, entries(held_out))]
    return [f"{name}: {leak.sentence}" for name, leak in leaks if leak.code == "near-leak"]


def _words(row: Prompt | Group) -> str:
    """What a row asks, or where it asks nothing what it says, without case and spacing."""
    prompt = row if isinstance(row, Prompt) else row.prompt
    text = prompt.text
    if not text.strip() and isinstance(row, Group):
        text = row.completions[0].text
    return " ".join(text.casefold().split())


def _place_of(row: Prompt | Group) -> str:
    place = (row if isinstance(row, Prompt) else row.prompt).place
    return f" ({place})" if place else ""
