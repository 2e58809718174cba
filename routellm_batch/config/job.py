"""Typed configuration: one YAML file is one runnable job (design §6).

Everything is frozen and unknown keys are refused. ``load_config`` reads a file, applies ``key.path=value``
overrides from the command line and checks the whole; its errors name the key and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from routellm_batch.budget.pricing import CallPrice
from routellm_batch.config.cluster import ClusterConfig
from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.config.endpoints import EndpointConfig, JsonSchema, Sum, Uri
from routellm_batch.config.graders import AnswerGrader, JudgePairsConfig, PilotConfig, reference_of
from routellm_batch.config.model import Model, PlainJson
from routellm_batch.config.reading import explain, parse_yaml
from routellm_batch.core.errors import ConfigError
from routellm_batch.core.types import ENDPOINTS, ROUTES, EndpointName, Route

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a run id may look like: it is a folder name and must not leave the root."""
OPERATIONAL = (
    "cluster",
    "retry",
    "run.deadline_s",
    "run.date",
    "run.root",
    "router.embedder.timeout_s",
    "router.embedder.attempts",
    "router.embedder.batch_texts",
    "budget.hard_cap_usd",
    "budget.on_overrun",
    *(f"endpoints.{name}.{key}" for name in ("strong", "weak", "judge") for key in ("limits", "timeout_s")),
)
"""Keys that may change between a run and its resume (design §6); where a run lies is not part of what it is."""
LATER: dict[str, Any] = {"budget.order": "auto", "pilot": None, "grade": None, "judge": None}
LATER |= {f"endpoints.{name}.estimate.lengths_from": None for name in ("strong", "weak", "judge")}
"""Keys that older runs don't have, left out of what a run is where they say what those do."""


def _run_id(value: str) -> str:
    if not RUN_ID.fullmatch(value.replace("{date}", "2000-01-01")) or ".." in value:
        message = "may hold letters, digits, '.', '_' and '-' (64 at most, no '..') and {date}"
        raise ValueError(message)
    return value


class RunConfig(Model):
    """What the run is called and where it lies."""

    id: Annotated[str, AfterValidator(_run_id)]
    root: Uri
    seed: int = 0
    deadline_s: Annotated[float, Field(gt=0)] | None = None
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = None
    single_writer: bool = False
    """Accept a store without exclusive creates, on the word that nobody else writes this run."""


class ColumnsConfig(Model):
    """Names of the input columns; exactly one of ``prompt`` and ``messages``."""

    id: str = "id"
    prompt: str | None = None
    messages: str | None = None
    system: str | None = None

    @model_validator(mode="after")
    def _one_text(self) -> ColumnsConfig:
        if (self.prompt is None) == (self.messages is None):
            message = "name exactly one of prompt and messages"
            raise ValueError(message)
        return self


class InputConfig(Model):
    """Prompts in Parquet on any fsspec store."""

    uri: Uri
    columns: ColumnsConfig
    keep: tuple[str, ...] = ()
    shard_rows: Annotated[int, Field(ge=1, le=65536)] = 1024
    max_prompt_bytes: Annotated[int, Field(ge=1)] = 1024 * 1024


class RouterConfig(Model):
    """Which router scores, with which weights."""

    name: str = "outcome"
    checkpoint: str | None = None
    embedder: EmbedderConfig = EmbedderConfig()
    options: PlainJson = Field(default_factory=dict)


class BudgetConfig(Model):
    """What may be spent: exactly one of the three modes, and optionally a hard cap."""

    strong_share: Annotated[Decimal, Field(ge=0, le=1)] | None = None
    usd: Sum | None = None
    recover: Annotated[Decimal, Field(gt=0, le=1)] | None = None
    confidence: Annotated[Decimal, Field(gt=0, lt=1)] | None = None
    """With which ``recover`` is to be held; 0.9 where left out."""
    order: Literal["auto", "score", "gain_per_dollar"] = "auto"
    """What rows are ranked by; auto is gain_per_dollar for ``usd`` where a pilot shows that it pays."""
    hard_cap_usd: Sum | None = None
    on_overrun: Literal["degrade", "stop"] = "degrade"

    @model_validator(mode="after")
    def _one_mode(self) -> BudgetConfig:
        given = [name for name in ("strong_share", "usd", "recover") if getattr(self, name) is not None]
        if len(given) != 1:
            found = "none is given" if not given else f"{' and '.join(given)} are given"
            message = f"exactly one of strong_share, usd and recover is needed; {found}"
            raise ValueError(message)
        if self.recover is None and self.confidence is not None:
            message = "confidence is that of recover, which is not given"
            raise ValueError(message)
        if self.strong_share is not None and self.order == "gain_per_dollar":
            message = "strong_share sends the rows with the highest scores; order gain_per_dollar needs usd or recover"
            raise ValueError(message)
        return self


class RetryConfig(Model):
    """When a failed attempt is tried again, and when the run gives up."""

    attempts: Annotated[int, Field(ge=1, le=20)] = 3
    deadline_s: Annotated[float, Field(gt=0)] = 600
    budget: Annotated[float, Field(ge=0, le=1)] = 0.2
    max_error_rate: Annotated[float, Field(ge=0, le=1)] = 0.5


class LabelConfig(Model):
    """What a label must look like: one of ``values``, or JSON that holds to ``schema``."""

    column: str = "label"
    values: tuple[str, ...] = ()
    schema_: JsonSchema | None = Field(default=None, alias="schema")
    reask: Annotated[int, Field(ge=0, le=3)] = 1
    instruction: str | None = None
    """System text that asks for the label; made from the values or the schema if absent, none if empty."""

    @model_validator(mode="after")
    def _one_kind(self) -> LabelConfig:
        if bool(self.values) == (self.schema_ is not None):
            message = "give exactly one of values and schema"
            raise ValueError(message)
        return self


class EndpointsConfig(Model):
    """The two endpoints that answer, and one that judges where a judge is used."""

    strong: EndpointConfig
    weak: EndpointConfig
    judge: EndpointConfig | None = None

    def of(self, name: EndpointName) -> EndpointConfig:
        """Return the endpoint of a route, or the judge.

        Raises:
            ConfigError: the config has no endpoint of this name.

        """
        endpoint: EndpointConfig | None = getattr(self, name)
        if endpoint is None:
            raise ConfigError(f"endpoints.{name}", "is missing")
        return endpoint

    def named(self) -> dict[EndpointName, EndpointConfig]:
        """Return the endpoints that the config has, by name."""
        return {name: self.of(name) for name in ENDPOINTS if getattr(self, name) is not None}

    def by_route(self) -> dict[Route, EndpointConfig]:
        """Return the endpoint of each route."""
        return {route: self.of(route) for route in ROUTES}

    def call_prices(self) -> dict[Route, CallPrice]:
        """Return what prices a call of each route."""
        return {route: endpoint.call_price for route, endpoint in self.by_route().items()}


class Config(Model):
    """One job."""

    run: RunConfig
    input: InputConfig
    router: RouterConfig = RouterConfig()
    budget: BudgetConfig
    endpoints: EndpointsConfig
    retry: RetryConfig = RetryConfig()
    label: LabelConfig | None = None
    pilot: PilotConfig | None = None
    grade: AnswerGrader | None = None
    """Grades the run's own answers afterwards."""
    judge: JudgePairsConfig | None = None
    """``judge_pairs`` only."""
    cluster: ClusterConfig = ClusterConfig()

    @model_validator(mode="after")
    def _bounded_if_capped(self) -> Config:
        """What has a cap reserves the worst case of each call, so answers must have a longest length."""
        capped = {
            "budget.hard_cap_usd": self.budget.hard_cap_usd is not None and ("strong", "weak"),
            "pilot.usd": self.pilot is not None and ("strong", "weak"),
            "pilot.grader": self.pilot is not None and self.pilot.grader.kind == "judge" and ("judge",),
            "judge": self.judge is not None and ("judge",),
        }
        for key, name in [(key, name) for key, names in capped.items() if names for name in names]:
            end: EndpointConfig | None = getattr(self.endpoints, name)
            if end is None:
                message = f"endpoints.{name} is missing: {key} needs its model and price"
                raise ValueError(message)
            if end.max_output_tokens is None:
                message = (
                    f"endpoints.{name}.params.max_completion_tokens is needed: "
                    f"{key} reserves the worst case of each call"
                )
                raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _pilot_where_needed(self) -> Config:
        """What only a pilot can tell is refused here, before anything is scored or begun."""
        by_dollar = self.budget.order == "gain_per_dollar"
        if self.pilot is None and (self.budget.recover is not None or by_dollar):
            key, other = (
                ("order=gain_per_dollar", "order=score") if by_dollar else ("recover", "strong_share or usd")
            )
            message = (
                f"budget.{key} needs a pilot that measures what the strong model gains: "
                f"add pilot: {{rows: 500, usd: …, grader: {{…}}}}, or give {other} instead"
            )
            raise ValueError(message)
        return self


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, apply ``key.path=value`` overrides and check the whole.

    Raises:
        ConfigError: naming the key, the problem and, for a misspelt key, the likely one.

    """
    source = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError("", "no such config file", source=source) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("", f"can't be read ({type(error).__name__})", source=source) from None
    tree = parse_yaml(text, source=source)
    if not isinstance(tree, dict):
        raise ConfigError("", "must be a mapping of run, input, budget, endpoints, …", source=source)
    for override in overrides:
        _apply(tree, override)
    return check_config(tree, source=source)


def check_config(tree: Any, *, source: str) -> Config:
    """Check a parsed tree.

    Raises:
        ConfigError: as ``load_config``.

    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        problems = [explain(one, Config) for one in error.errors(include_url=False, include_input=False)]
        key, problem = problems[0]
        rest = "".join(f"\n{source}: {k}: {p}" if k else f"\n{source}: {p}" for k, p in problems[1:])
        raise ConfigError(key, problem + rest, source=source) from None


def _apply(tree: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ConfigError(override, "an override is written key.path=value")
    at: Any = tree
    *parents, last = path.split(".")
    for part in parents:
        at = at.setdefault(part, {})
        if not isinstance(at, dict):
            raise ConfigError(path, f"{part} is not a mapping, so nothing can be set below it")
    at[last] = parse_yaml(text, source=path)


def input_reads(config: Config) -> list[str]:
    """Return the input columns that a job reads besides those that it names as its input: what its graders compare with."""
    graders = (config.pilot.grader if config.pilot else None, config.grade)
    return [name for name in map(reference_of, graders) if name is not None]


def identity(config: Config) -> dict[str, Any]:
    """Return what a run is, flat (``a.b.c`` → JSON value), without the keys that may change on a resume."""
    flat: dict[str, Any] = {}
    _flatten("", config.model_dump(mode="json", by_alias=True), flat)
    return {k: value for k, value in flat.items() if not _operational(k) and LATER.get(k, flat) != value}


def _operational(key: str) -> bool:
    return any(key == name or key.startswith(name + ".") for name in OPERATIONAL)


def _flatten(prefix: str, value: Any, into: dict[str, Any]) -> None:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            _flatten(f"{prefix}.{key}" if prefix else str(key), inner, into)
    else:
        into[prefix] = value
