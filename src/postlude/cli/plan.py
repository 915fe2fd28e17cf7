"""postlude plan"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from postlude.terminal import Screen

if TYPE_CHECKING:
    from postlude.costing import Plan
    from postlude.sizing.cost import Cost


def plan(
    what: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE|MODEL",
            help="A recipe, a method or a run's folder; or a model: its folder, a name in Hugging Face's cache, or a "
            "size such as 7B.",
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings on top of the recipe's, dots go inside."),
    ] = None,
    gpus: Annotated[str, typer.Option(metavar="N,N,...", help="Numbers of GPUs.")] = "1,8,64",
    gpu: Annotated[
        str,
        typer.Option(
            help="Which: h100, h200, h800, h20, b200, a100, a800, l40s, l4, a10, rtx3090, rtx4090 or rtx5090."
        ),
    ] = "h100",
    method: Annotated[str | None, typer.Option(help="With a model: what it is trained by. Default: grpo.")] = None,
    config: Annotated[
        str | None, typer.Option(metavar="FILE", help="A config.json, where the recipe's model is not here.")
    ] = None,
    data_lengths: Annotated[
        str | None,
        typer.Option(
            metavar="P,A",
            help="Tokens of a prompt and of a written answer. Default: those of the data, where the model is a folder "
            "here; else 512,256.",
        ),
    ] = None,
    mean_answer: Annotated[
        float | None, typer.Option(help="Tokens of a sampled answer, on average. Default: half of the longest.")
    ] = None,
    shown: Annotated[
        bool, typer.Option("--show", help="Every figure with its formula, every rate with its source.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """What a run costs on so many GPUs, before there are any: who trains and who samples, memory of each, seconds of a
    step by part, GPU hours, what saturates first and what to change. Arithmetic alone.

    postlude plan recipe.yaml --gpus 1,8,64,1024
    postlude plan 32B --gpus 64 --gpu h200 --mean-answer 4000 sampling.max_tokens=16384 engine.dtype=bfloat16
    """
    from postlude import costing
    from postlude.cli.plan_view import show, show_sources

    asked = costing.Asked.of(gpus, gpu, config, data_lengths, mean_answer)
    result = costing.plan(what, overrides or [], method, asked)
    if as_json:
        typer.echo(json.dumps(to_json(result), allow_nan=False))
        return
    screen = Screen()
    show(result, what, screen)
    if shown:
        show_sources(result, screen)


def to_json(result: Plan) -> dict[str, object]:
    """The same as plain values: bytes, seconds, hours. What does not fit has no seconds."""
    run = result.run
    return {
        "model": run.shape.name,
        "parameters": run.shape.parameters,
        "method": run.setting.method,
        "dtype": run.setting.dtype,
        "gpu": result.costs[0].gpu.name,
        "draw": {
            "prompts": run.draw.prompts,
            "answers": run.draw.answers,
            "prompt": run.draw.prompt,
            "answer": run.draw.answer,
            "longest": run.draw.longest,
            "tokens": run.draw.tokens,
        },
        "plans": [_one(cost) for cost in result.costs],
        "notes": list(result.notes),
    }


def _one(cost: Cost) -> dict[str, object]:
    server, fits = cost.server, cost.fits
    return {
        "gpus": cost.count,
        "trainers": cost.layout.trainers,
        "servers": 0 if cost.layout.alone else cost.layout.servers,
        "server_gpus": cost.layout.gpus if server else None,
        "idle": cost.idle,
        "of_the_recipe": cost.is_fixed,
        "others": [
            {"trainers": other.trainers, "servers": 0 if other.alone else other.servers, "seconds": taken}
            for other, taken in cost.others
        ],
        "fits": fits,
        "refused": cost.refused,
        "rank": {"bytes": cost.rank.peak, "phases": dict(cost.rank.phases), "room": cost.rank.setting.room},
        "needed": [{"keys": list(way.keys), "bytes": way.peak} for way in cost.rank.ways] if not fits else [],
        "server": None
        if server is None
        else {"weights": server.weights, "room": server.room, "answers": server.rows, "answer": server.each},
        "seconds": cost.seconds if fits else None,
        "parts": [
            {"name": part.name, "seconds": part.seconds, "hidden": part.hidden, "formula": part.formula}
            for part in cost.parts
        ]
        if fits
        else [],
        "tokens_per_second": cost.tokens if fits else None,
        "hours": cost.hours if fits else None,
        "gpu_hours": cost.gpu_hours if fits else None,
        "saturates": cost.first.name if fits else None,
        "changes": [{"key": one.key, "seconds": one.seconds, "price": one.price} for one in cost.changes]
        if fits
        else [],
    }
