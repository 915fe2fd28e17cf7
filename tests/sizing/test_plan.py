"""What a run costs on so many GPUs: shares, seconds and bytes by hand, published runs, and the command."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench import published
from postlude.cli.app import app
from postlude.cli.plan_view import seconds
from postlude.costing import Asked, draw_of, plan
from postlude.facts import hardware as hw
from postlude.facts.hardware import GPUS, RATES
from postlude.footprint import Lengths, named
from postlude.models.lora import Lora
from postlude.sizing import Setting, Shape
from postlude.sizing.cost import Cost, Run, Way, cost, cost_on, fitting
from postlude.sizing.draw import Draw, active, met_experts, operations, read_parameters
from postlude.sizing.layout import ALONE, Layout, layouts, numbers, slots
from postlude.sizing.seconds import moving, total
from postlude.sizing.work import Work
from tests.refusals import refused

SEVEN = Shape.of_size("7B")
DRAW = Draw(prompts=64, group=16, prompt=300, answer=1000, longest=4096, readings=1)
WORK = Work(sequence=4396, piece=4396, update=64 * 65_836, draw=64 * 65_836, answers=1024, prompt=300, group=16)
RUN = Run(SEVEN, Setting(work=WORK, reference=True, dtype="bfloat16", checkpointing=True), DRAW)
H100 = GPUS["h100"]


def part(one: Cost, name: str) -> float:
    return next(part.seconds for part in one.parts if part.name == name)


# ----------------------------------------------------------------------------------------------------- arithmetic


def test_operations_are_two_for_each_parameter_and_four_for_each_pair() -> None:
    tiny = Shape.of_config(Path("tests/fixtures/configs/smollm2-135m.json"))
    draw = Draw(prompts=2, group=3, prompt=10, answer=4, longest=4)
    done = operations(tiny, draw)
    assert draw.tokens == 2 * (10 + 3 * 4) and draw.pairs == 2 * (50 + 3 * (40 + 8))
    assert done.layers == 2 * tiny.layers * tiny.of_layer * 44
    assert done.attention == 4 * 576 * 30 * draw.pairs
    assert done.head == 2 * 49_152 * 576 * 24
    assert operations(tiny, draw, head=False).head == 0


def test_a_mixture_computes_with_the_experts_that_a_token_meets_and_reads_those_that_a_batch_meets() -> None:
    mixture = published.QWEN3_30B
    assert met_experts(mixture) == 8
    assert 30.4e9 < mixture.parameters < 30.6e9
    assert active(mixture) + 2 * mixture.embedding == pytest.approx(3.35e9, rel=0.01)  # its name says 3 B
    assert read_parameters(mixture, 1) < 0.11 * mixture.parameters
    assert read_parameters(mixture, 256) == pytest.approx(mixture.parameters - mixture.embedding, rel=0.01)


def test_a_training_step_is_what_it_is_by_hand() -> None:
    one = cost_on(RUN, H100, Layout(4, 4))
    forward = operations(SEVEN, DRAW).forward
    rate = 989e12 * 0.38
    assert part(one, "passes without a gradient") == pytest.approx(forward / 4 / rate)
    assert part(one, "forward and backward") == pytest.approx(4 * forward / 4 / rate)  # one forth again: checkpointing
    adapter = replace(RUN, setting=replace(RUN.setting, lora=Lora(), checkpointing=False))
    assert part(cost_on(adapter, H100, Layout(4, 4)), "forward and backward") == pytest.approx(2 * forward / 4 / rate)
    uneven = Draw(prompts=5, group=1, prompt=10, answer=10, longest=10)
    assert uneven.busiest(4) == 2 / 5 and uneven.busiest(8) == 1 / 5


def test_a_decoding_step_reads_weights_and_keys_or_computes_for_longer() -> None:
    one = cost_on(RUN, H100, Layout(4, 4))
    read = 2 * (SEVEN.parameters - SEVEN.embedding - 3584)  # an embedding is looked up
    keys = 256 * 800 * 2 * 28 * 512 * 2
    computing = (
        256 * read / (989e12 * 0.38)
    )  # two operations for two bytes: more than reading, from some 150 answers on
    step = max(read / (3.35e12 * 0.8), computing) + keys / (3.35e12 * 0.8) + 0.004
    prompts = operations(SEVEN, replace(DRAW, answer=0.0)).forward / (4 * 989e12 * 0.38)
    assert part(one, "sampling") == pytest.approx(1000 * step + prompts, rel=1e-3)
    assert part(one, "the longest answer") > 3096 * (read / (3.35e12 * 0.8) + 0.004)


def test_ranks_move_weights_twice_and_gradients_once_for_each_pass() -> None:
    seconds, where = moving(H100, 8, 8e9, 0)
    assert seconds == pytest.approx(7e9 / (450e9 * 0.65)) and "in the host" in where
    seconds, where = moving(H100, 16, 8e9, 0)
    assert seconds == pytest.approx(max(4e9 / (8 * 50e9 * 0.9), 7.5e9 / (450e9 * 0.65))) and "2 hosts" in where
    assert moving(H100, 64, 0.0, 100)[0] == pytest.approx(100 * 8 * 2e-5)


def test_publishing_takes_each_server_in_turn_and_a_stream_goes_through_rank_0() -> None:
    weights = 2 * SEVEN.parameters
    files = cost_on(RUN, H100, Layout(4, 3))
    assert part(files, "publish") == pytest.approx(weights / 2e9 + 3 * weights / 4e9)
    stream = cost_on(replace(RUN, way="stream"), H100, Layout(4, 3))
    assert part(stream, "publish") == pytest.approx(weights / 8e9)
    assert part(files, "commit") == pytest.approx(12 * SEVEN.parameters / 2e9)
    rare = cost_on(replace(RUN, commit_every=10), H100, Layout(4, 3))
    assert part(rare, "commit") == pytest.approx(part(files, "commit") / 10)


def test_with_a_lag_the_longer_of_sampling_and_learning_counts() -> None:
    now = cost_on(RUN, H100, Layout(4, 4))
    ahead = cost_on(replace(RUN, draw=replace(DRAW, lag=1)), H100, Layout(4, 4))
    sums = {phase: sum(one.seconds for one in now.parts if one.phase == phase) for phase in ("sample", "learn")}
    assert total(now.parts, 0) - total(now.parts, 1) == pytest.approx(min(sums.values()))
    assert ahead.seconds == total(now.parts, 1)
    assert ahead.first.phase != ("learn" if sums["learn"] < sums["sample"] else "sample")


# ---------------------------------------------------------------------------------------------------- sharing out


def test_gpus_are_shared_out_so_that_a_step_is_shortest() -> None:
    best = cost(RUN, H100, 8)
    every = [cost_on(RUN, H100, layout) for layout in layouts(8, 1)]
    assert {(one.layout.trainers, one.layout.servers) for one in every} == {
        (ranks, servers) for ranks in range(1, 8) for servers in range(1, 9 - ranks)
    }
    assert best.seconds == min(one.seconds for one in every if one.fits)
    assert best.count == 8 and best.gpu_hours == pytest.approx(8 * best.seconds * 100 / 3600)
    assert cost(replace(RUN, draw=replace(DRAW, samples=False)), H100, 64).layout == Layout(64)


@pytest.mark.parametrize("way", ["files", "stream"])
@pytest.mark.parametrize("lag", [0, 1])
def test_seconds_of_all_ways_are_what_each_takes_by_itself(way: Way, lag: int) -> None:
    run = replace(RUN, way=way, draw=replace(DRAW, lag=lag))
    ways = fitting(run, H100, 12)
    assert {Layout(11, 1), Layout(4, 8), Layout(3, 2)} < set(ways) and ALONE not in ways
    for layout, taken in ways.items():
        built = replace(run, way="files") if layout.trainers > 1 else run  # tensors go out of one trainer alone
        assert taken == pytest.approx(cost_on(built, H100, layout).seconds, rel=1e-12)


SHORT = replace(DRAW, prompts=16, group=8, answer=128, longest=256)


@pytest.mark.parametrize(
    "run",
    [
        RUN,
        replace(RUN, draw=SHORT, setting=replace(RUN.setting, lora=Lora()), way="lora"),
        replace(RUN, draw=replace(SHORT, lag=1), shape=Shape.of_size("32B"), commit_every=10),
        replace(RUN, draw=replace(SHORT, samples=False), shape=Shape.of_size("1B")),
    ],
    ids=["all weights", "lora", "servers on two GPUs", "written answers"],
)
def test_more_gpus_are_never_slower(run: Run) -> None:
    least = float("inf")
    for count in [*range(1, 65), 72, 100, 128]:
        one = cost(run, H100, count)
        assert one.layout.total + one.idle == count == one.count or not one.fits
        if one.fits:
            assert one.seconds <= least + 1e-8, count
            least = one.seconds
    assert least < float("inf")


def test_servers_are_not_cut_over_hosts_that_one_can_hold() -> None:
    assert [slots(count, 4) for count in (3, 4, 8, 11, 12, 16)] == [0, 1, 2, 2, 3, 4]
    assert slots(24, 3) == 6 and slots(32, 16) == 2
    assert numbers(70)[-2:] == [63, 64] and numbers(80)[-1] == 80 and numbers(10**5)[-1] == 4096
    assert max(one.servers for one in layouts(10_000, 1)) == 1024


def test_a_server_is_as_wide_as_its_weights_want_and_a_rank_holds_its_share() -> None:
    large = Shape.of_size("70B")
    one = cost(replace(RUN, shape=large), H100, 64)
    assert one.layout.gpus == 4 and one.server and one.server.weights == 2 * large.parameters
    assert one.server.rows == min(256, one.server.room // (2 * 80 * 2 * 1024 * 1300))
    held = {held.name: held.bytes for held in one.rank.parts}
    assert held["optimiser (AdamW)"] == 8 * large.parameters // one.layout.trainers
    assert held["weights"] == 4 * large.parameters // one.layout.trainers  # its share, in float32


def test_what_does_not_fit_says_what_would() -> None:
    alone = cost(RUN, H100, 1)
    assert not alone.fits and alone.layout.alone
    assert ("model.lora.rank=16",) in [way.keys for way in alone.rank.ways]
    few = cost(replace(RUN, shape=Shape.of_size("70B")), H100, 4)
    assert few.refused == "a server of this model takes 4 GPUs, and one more has to train" and not few.fits


def test_changes_are_settings_with_the_seconds_that_the_same_arithmetic_gives() -> None:
    one = cost(RUN, H100, 64)
    changes = {change.key: change.seconds for change in one.changes}
    assert changes["max_lag=1"] == cost(replace(RUN, draw=replace(DRAW, lag=1)), H100, 64).seconds < one.seconds
    assert "engine.publish=stream" not in changes  # which a recipe of several trainers may not say
    keys = [change.key for change in one.changes]
    assert keys.index("model.lora.rank=16") > keys.index("max_lag=1")  # what teaches the same stands first
    single = replace(RUN, shape=Shape.of_size("1B"), fixed=Layout(1, 7))
    (stream,) = [change for change in cost(single, H100, 8).changes if change.key == "engine.publish=stream"]
    assert stream.seconds == cost_on(replace(single, way="stream"), H100, Layout(1, 7)).seconds


def test_the_numbers_of_a_recipe_are_taken_as_they_are_where_gpus_are_their_sum() -> None:
    run = replace(RUN, fixed=Layout(4, 4))
    asked, free = cost(run, H100, 8), cost(RUN, H100, 8)
    assert asked.is_fixed and asked.layout == Layout(4, 4) and asked.seconds == cost_on(run, H100, Layout(4, 4)).seconds
    assert asked.others == ((free.layout, pytest.approx(free.seconds)),) and free.seconds < asked.seconds
    assert cost(run, H100, 16) == replace(cost(RUN, H100, 16), run=run)
    narrow = cost(replace(RUN, shape=Shape.of_size("70B"), fixed=Layout(60, 4)), H100, 64)
    assert not narrow.fits and narrow.refused.endswith("room for answers: engine.servers.gpus=4")


# -------------------------------------------------------------------------------------------------- published runs


def test_planned_seconds_stand_within_their_bounds_of_published_ones() -> None:
    for run in published.runs():
        if published.STEP in run.seconds and "A3B" not in run.name:
            most = 1.6 if "DAPO" in run.name else 1.0
            assert 0.7 < run.planned(published.STEP) / run.seconds[published.STEP] < most, run.name
        if "sampling" in run.seconds:
            assert 0.7 < run.planned("sampling") / run.seconds["sampling"] < 1.4, run.name
    (mixture,) = [run for run in published.runs() if "A3B" in run.name]
    assert mixture.planned(published.STEP) / mixture.seconds[published.STEP] < 0.6  # and the page says why


def test_the_page_has_the_table_of_published_runs() -> None:
    page = published.PAGE.read_text()
    assert f"{published.BEGIN}\n\n{published.table()}\n\n{published.notes()}\n\n{published.END}" in page


def test_every_rate_and_gpu_has_a_source() -> None:
    assert all(rate.means and rate.source and rate.value > 0 for rate in RATES.values())
    assert all(gpu.source and gpu.flops > gpu.flops32 > 0 for gpu in GPUS.values())
    assert {id(rate) for rate in RATES.values()} == {id(one) for one in vars(hw).values() if isinstance(one, hw.Rate)}


# ---------------------------------------------------------------------------------------------------- from recipes


def recipe(*overrides: str, what: str = "grpo") -> list[str]:
    return ["8B", "--method", what, *overrides]


def told(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["plan", *arguments])
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_a_draw_is_what_a_recipe_says() -> None:
    keys = ["sampling.max_tokens=1000", "prompts_per_step=8", "group_size=4", "updates=2", "epochs=3", "max_lag=1"]
    subject = named("8B", [*keys, "objective.correction={mode: token_truncate, high: 2}"], "grpo", Lengths(300, 1))
    draw = draw_of(subject.recipe, subject.lengths, Asked(answer=200.0))
    assert (draw.prompts, draw.group, draw.prompt, draw.answer, draw.longest) == (8, 4, 300, 200, 1000)
    assert (draw.updates, draw.epochs, draw.lag, draw.readings) == (2, 3, 1, 2)  # the old policy and the reference
    pairs = draw_of(named("8B", [], "dpo", Lengths(300, 50)).recipe, Lengths(300, 50), Asked())
    assert (pairs.group, pairs.answer, pairs.samples, pairs.readings) == (2, 50, False, 1)


@pytest.mark.parametrize("method", ["sft", "dpo", "reward_model", "ppo", "drpo", "dapo"])
def test_every_family_has_a_plan(method: str) -> None:
    result = plan("1B", ["engine.dtype=bfloat16"], method, Asked((1, 8)))
    assert [one.count for one in result.costs] == [1, 8] and all(one.fits for one in result.costs)
    assert all(one.seconds > 0 and one.first in one.parts for one in result.costs)


def test_the_command_shows_shares_memory_seconds_and_what_to_change() -> None:
    out = told(*recipe("engine.dtype=bfloat16", "--gpus", "1,8,64", "--mean-answer", "100"))
    for words in (
        "ranks that train",
        "memory of a rank",
        "memory of a server",
        "the longest answer",
        "GPU h",
        "links between ranks",
    ):
        assert words in out
    assert "does not fit: a rank takes at least" in out and "what saturates first" in out
    assert "engine.commit_every=10" in out and "neither tensor parallel ranks nor context parallelism" in out
    shown = told(*recipe("engine.dtype=bfloat16", "--gpus", "8", "--show"))
    assert "2407.21783" in shown and "NVIDIA H100 data sheet" in shown and "GB gathered" in shown


def test_as_json() -> None:
    result = CliRunner().invoke(app, ["plan", *recipe("engine.dtype=bfloat16", "--gpus", "1,8", "--json")])
    values = json.loads(result.output)
    alone, shared = values["plans"]
    assert alone["fits"] is False and alone["seconds"] is None and alone["needed"]
    assert shared["seconds"] == pytest.approx(sum(one["seconds"] for one in shared["parts"]))
    assert shared["trainers"] + shared["servers"] * shared["server_gpus"] + shared["idle"] == 8
    assert shared["others"] and all(one["seconds"] > shared["seconds"] for one in shared["others"])


def test_a_model_that_is_not_here_is_planned_from_its_config(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(Path("tests/fixtures/configs/smollm2-135m.json").read_text())
    (tmp_path / "recipe.yaml").write_text(
        "method: grpo\nmodel: {path: Owner/never-seen-2B}\ndata: prompts.jsonl\nreward: math\n"
    )
    with refused("no-such-model", said="--config config.json"):
        plan(str(tmp_path / "recipe.yaml"), [], None, Asked((8,)))
    with refused("no-such-model", said="Plan its size: model=2B"):
        plan(str(tmp_path / "recipe.yaml"), [], None, Asked((8,)))
    with refused("no-such-model", said="Plan its size: postlude plan 2B"):
        plan("Owner/never-seen-2B", [], None, Asked((8,)))
    with refused("no-such-file", said="model=8B"):
        plan(str(tmp_path / "recipe.yaml"), [], None, Asked((8,), config="8B"))
    out = told(str(tmp_path / "recipe.yaml"), "--gpus", "8", "--config", str(file))
    assert "prompts of 512 tokens are assumed" in out and "ranks that train" in out


@pytest.mark.parametrize("name", ["node", "cluster"])
def test_the_packaged_recipes_of_several_gpus_name_a_plan_that_works(name: str) -> None:
    text = Path(f"recipes/scale/{name}.yaml").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("#   postlude plan ")]
    out = told(*line.split()[3:])
    assert "as asked" in out and "is what the recipe asks for" in out


def notes(*overrides: str, what: str = "grpo", asked: Asked | None = None) -> str:
    return "\n".join(plan("8B", ["engine.dtype=bfloat16", *overrides], what, asked or Asked((8,))).notes)


def test_settings_that_a_plan_does_not_go_by_are_said() -> None:
    servers = "engine.servers={count: 2, python: python}"
    assert "set aside" not in notes() and "the recipe's own" not in notes()
    assert "engine.trainers 64 is set aside: without engine.servers" in notes("engine.trainers=64")
    assert "own 64 + 2 are planned as such with --gpus 66; with 8 they" in notes("engine.trainers=64", servers)
    assert "the recipe's own" not in notes("engine.trainers=6", servers)
    urls = "engine.servers={urls: ['http://10.0.0.5:8000']}"
    assert "own 1 + 1 are planned as such with --gpus 2" in notes(urls)
    assert "engine.device cpu is set aside: this is a plan for H100 SXM" in notes("engine.device=cpu")
    assert "colocate is set aside" in notes("engine.servers={count: 1, python: python, colocate: true}")
    assert "own 4 GPUs are planned as such with --gpus 4" in notes("engine.trainers=4", what="sft")
    assert "keep mixed is not counted" in notes(what="dapo") and "pretrain is not counted" in notes(what="ppo_ptx")
    assert "answer's 9 is not used" in notes(asked=Asked((8,), lengths=Lengths(300, 9)))
    stream = notes("engine.publish=stream", urls)
    assert "engine.publish stream is for one trainer" in stream


def test_a_recipe_with_servers_is_planned_on_one_gpu_too() -> None:
    keys = ["engine.dtype=bfloat16", "engine.servers={count: 1, python: python}"]
    alone, plain = (plan("1B", one, "grpo", Asked((1,))).costs[0] for one in (keys, keys[:1]))
    assert alone.layout.alone and alone.parts == plain.parts


def test_a_mean_that_answers_cannot_have_is_refused() -> None:
    with refused("contradiction", said="sampling.max_tokens=8000"):
        plan("8B", [], "grpo", Asked((8,), answer=4000.0))
    with refused("no-effect", said="--data-lengths P,A"):
        plan("8B", [], "sft", Asked((8,), answer=40.0))


def test_gpus_are_known_however_they_are_written() -> None:
    assert {Asked.of("8", name, None, None, None).gpu for name in ("RTX 4090", "rtx-4090", "rtx4090")} == {"rtx4090"}
    for name, meant in (("4090", "'rtx4090'"), ("h100-sxm", "'h100'"), ("rtx4080", "'rtx4090'")):
        with refused("unknown-name", said=meant):
            Asked.of("8", name, None, None, None)
    with refused("unknown-name", said="no bfloat16 in its tensor cores"):
        Asked.of("8", "T4", None, None, None)
    out = CliRunner().invoke(app, ["plan", "--help"], env={"COLUMNS": "400", "TERMINAL_WIDTH": "400"}).output
    assert set(GPUS) <= set(re.findall(r"\w+", out))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_nothing_of_the_table_is_cut_whatever_the_width(width: int) -> None:
    arguments = ["plan", *recipe("engine.dtype=bfloat16", "--gpus", "1,8,10,16,64,1024")]
    out = CliRunner().invoke(app, arguments, env={"COLUMNS": str(width)}).output
    table = out[: out.index("what saturates first")]
    assert "…" not in out and "GiB" not in out and max(map(len, table.splitlines()[3:])) <= width
    assert table.count("memory of a rank") == {60: 6, 80: 3, 120: 2}[width]
    assert all(f"{count} GPU" in table for count in ("1", "8", "10", "16", "64", "1,024"))
    assert "a layer's gradients, added up" in table and "does not fit" in table


def test_seconds_have_two_digits_that_count() -> None:
    values = (0.0, 3.1e-7, 0.00042, 0.0061, 0.0999, 0.12, 0.996, 2.0, 9.96, 34.2, 1300.0)
    assert [seconds(one) for one in values] == [
        "-", "0.31 us", "0.42 ms", "6.1 ms", "0.10 s", "0.12 s", "1.0 s", "2.0 s", "10 s", "34 s", "1,300 s",
    ]  # fmt: skip
    tiny = told("50M", "--method", "grpo", "sampling.max_tokens=8", "--gpus", "1,4", "engine.commit_every=100")
    assert " 0 s" not in tiny and " 0.0 " not in tiny and "e-" not in tiny.replace("the-", "")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"gpus": "0"}, "out-of-range"),
        ({"gpus": "eight"}, "out-of-range"),
        ({"gpu": "h1000"}, "unknown-name"),
        ({"answer": -1.0}, "out-of-range"),
        ({"lengths": "300"}, "wrong-type"),
    ],
)
def test_what_cannot_be_asked(arguments: dict[str, str], code: str) -> None:
    usual: dict[str, object] = {"gpus": "8", "gpu": "h100", "config": None, "lengths": None, "answer": None}
    with refused(code):
        Asked.of(**(usual | arguments))  # type: ignore[arg-type]
