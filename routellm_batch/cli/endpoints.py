"""``routellm-batch endpoint …``: fake endpoints on loopback, for trials, tests and backtests."""

from __future__ import annotations

from typing import Annotated

import typer

from routellm_batch.core.types import LOOPBACK

endpoint_app = typer.Typer(
    help="Serve a fake model on this machine.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Port = Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
Latency = Annotated[float | None, typer.Option(help="Milliseconds to an answer.")]
Log = Annotated[str | None, typer.Option(metavar="FILE", help="Billing log to append to, JSON lines.")]
PriceInput = Annotated[
    str | None, typer.Option(metavar="USD", help="Price of a million input tokens, for the log.")
]
PriceOutput = Annotated[
    str | None, typer.Option(metavar="USD", help="Price of a million output tokens, for the log.")
]


@endpoint_app.command()
def simulate(
    port: Port,
    latency_ms: Latency = None,
    faults: Annotated[
        str | None, typer.Option(metavar="FILE", help="JSON or YAML: chances of faults, or any setting.")
    ] = None,
    log: Log = None,
    host: Host = LOOPBACK,
    price_input: PriceInput = None,
    price_output: PriceOutput = None,
) -> None:
    """Serve a made-up model until stopped; prints its base URL."""
    from routellm_batch.endpoints.simulator.serve import serve
    from routellm_batch.endpoints.simulator.settings import simulate_spec

    settings = {"price_input": price_input, "price_output": price_output}
    serve(simulate_spec(faults, port=port, host=host, latency_ms=latency_ms, log=log, **settings))


@endpoint_app.command()
def replay(
    port: Port,
    answers: Annotated[str, typer.Option(metavar="PARQUET", help="File of recorded answers.")],
    prompt_column: Annotated[str, typer.Option(metavar="C", help="Its column of prompts.")],
    answer_column: Annotated[str, typer.Option(metavar="C", help="Its column of answers.")],
    latency_ms: Latency = None,
    log: Log = None,
    host: Host = LOOPBACK,
    price_input: PriceInput = None,
    price_output: PriceOutput = None,
) -> None:
    """Serve recorded answers until stopped; prints its base URL."""
    from routellm_batch.endpoints.simulator.serve import serve
    from routellm_batch.endpoints.simulator.spec import ReplaySpec

    serve(
        ReplaySpec(
            host=host,
            port=port,
            uri=answers,
            prompt=prompt_column,
            answer=answer_column,
            latency_ms=latency_ms or 0.0,
            log=log,
            price_input=price_input or "0",
            price_output=price_output or "0",
        )
    )
