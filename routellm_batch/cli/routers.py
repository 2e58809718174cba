"""``routellm-batch evaluate`` and ``train``: routers measured and made."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from routellm_batch.core.errors import ConfigError

if TYPE_CHECKING:
    from routellm_batch.routers.training import Trained

Embedder = Annotated[
    str,
    typer.Option(
        "--embedder", metavar="NAME[:MODEL]", help="What reads the texts, or its settings as YAML in quotes."
    ),
]
Option = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="A setting of the router; may be repeated."),
]

Prices = Annotated[
    list[str] | None,
    typer.Option(
        "--price",
        metavar="ROUTE=IN,OUT",
        help="USD per million tokens, e.g. strong=10,30; once for each route, and check for a cascade's.",
    ),
]
TokenFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--tokens",
        metavar="FILE",
        help="Parquet of token counts by prompt_id, if OUTCOMES have none; may be repeated.",
    ),
]


Answer = Annotated[
    str | None,
    typer.Option(
        "--answer",
        metavar="KIND",
        help="How a cascade compares answers: exact, numeric, choice, regex, json, text; or YAML in quotes.",
    ),
]
Routers = Annotated[
    list[str],
    typer.Option(
        "--router",
        metavar="NAME[:CHECKPOINT]",
        help="May be repeated; cascade[:NAME[:CHECKPOINT]] looks at answers too.",
    ),
]


def parse_options(pairs: Sequence[str] | None) -> dict[str, Any]:
    """Return ``KEY=VALUE`` pairs as a mapping; a value is YAML.

    Raises:
        ConfigError: a pair without "=".

    """
    from routellm_batch.config.model import plain_json
    from routellm_batch.config.reading import parse_yaml

    options: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ConfigError("--option", f"{pair!r} is not KEY=VALUE")
        options[key] = plain_json(parse_yaml(value, source=f"--option {key}"))
    return options


def evaluate(
    outcomes: Annotated[
        list[str], typer.Argument(metavar="OUTCOMES", help="Parquet with prompts and both models' grades.")
    ],
    *,
    router: Routers,
    embedder: Embedder = "static",
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="COLUMN=VALUE", help="Rows to keep; may be repeated."),
    ] = None,
    pilot: Annotated[
        int | None, typer.Option("--pilot", metavar="N", help="Train on N rows, test on the rest.")
    ] = None,
    option: Option = None,
    seeds: Annotated[int, typer.Option("--seeds", metavar="K", min=1, help="Repeat the pilot K times.")] = 1,
    answer: Answer = None,
    price: Prices = None,
    tokens: TokenFiles = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", metavar="DIR", help="Folder for curves (Parquet, SVG; PNG with the extra plot) and JSON."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Measure routers on labelled outcomes.

    Prints CPT, PGR and APGR with intervals, beside baselines.
    """
    from routellm_batch.config.answers import parse_answer
    from routellm_batch.config.embedder import parse_embedder
    from routellm_batch.evaluation import Tariff, parse_prices, show, to_json
    from routellm_batch.evaluation import evaluate as measure

    filters: dict[str, str] = {}
    for pair in where or ():
        column, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError("--where", f"{pair!r} is not COLUMN=VALUE")
        filters[column] = value
    result = measure(
        outcomes,
        router,
        embedder=parse_embedder(embedder),
        options=parse_options(option),
        where=filters,
        pilot=pilot,
        seeds=seeds,
        tariff=Tariff(parse_prices(price or ()), tokens or ()),
        answer=None if answer is None else parse_answer(answer),
        out=out,
    )
    if as_json:
        typer.echo(to_json(result))
    else:
        show(result)
        if out:
            typer.echo(f"curves: {out}")


def train(
    data: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATA", help="Outcomes, score matrices or battles in Parquet; not with --recipe."
        ),
    ] = None,
    *,
    router: Annotated[str, typer.Option("--router", metavar="NAME", help="Router to train.")] = "outcome",
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="A new folder for the weights.")],
    embedder: Embedder = "static",
    option: Option = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of every random choice.")] = 0,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME",
            help="Make shipped weights again, e.g. outcome-v1; goes with --data alone.",
        ),
    ] = None,
    recipe_data: Annotated[
        str | None, typer.Option("--data", metavar="DIR", help="Folder with the recipe's files.")
    ] = None,
) -> None:
    """Train a router on labelled prompts.

    Ends with where its weights are, to be given as router.checkpoint.
    """
    if recipe is not None or recipe_data is not None:
        made = _follow(recipe, recipe_data, out=out, seed=seed, data=data)
        name = str(recipe).rpartition("-")[0] or str(recipe)
        _tell(name, made, embedder)
        return
    from routellm_batch.config.embedder import parse_embedder
    from routellm_batch.routers.training import TrainRequest
    from routellm_batch.routers.training import train as fit

    request = TrainRequest(
        paths=data or [],
        out=out,
        embedder=parse_embedder(embedder),
        seed=seed,
        options=parse_options(option),
        progress=lambda line: typer.echo(line, err=True),
    )
    _tell(router, fit(request, router=router), embedder)


def _tell(router: str, trained: Trained, embedder: str) -> None:
    """Print what was trained on what, how to use it, and at last where it is, for scripts."""
    reads = "" if embedder == "static" else f" --embedder {shlex.quote(embedder)}"
    typer.echo(f"Trained the router {router} on {trained.summary}.")
    typer.echo(f"  weights  {trained.out}, with a model card")
    typer.echo(f"  use it   router: {{name: {router}, checkpoint: {trained.out}}}")
    typer.echo(
        f"  next     routellm-batch evaluate OUTCOMES --router {shlex.quote(f'{router}:{trained.out}')}{reads}"
    )
    typer.echo(trained.out)


def _follow(
    recipe: str | None, folder: str | None, *, out: str, seed: int, data: Sequence[str] | None
) -> Trained:
    """Make shipped weights again, and return the report.

    Raises:
        ConfigError: an unknown recipe, or options that don't go together.

    """
    from routellm_batch.pipeline.recipes import RECIPES

    if recipe is None or folder is None or data:
        raise ConfigError("--recipe", "goes with --data DIR, and without DATA files")
    if recipe not in RECIPES:
        raise ConfigError("--recipe", f"{recipe!r} is unknown; there are: {', '.join(sorted(RECIPES))}")
    return RECIPES[recipe](folder, out=out, seed=seed)
