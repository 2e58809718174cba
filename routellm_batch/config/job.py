"""The configuration of a job, typed: one YAML file is one job.

Everything is frozen, and unknown keys are refused. ``load_config`` reads a file, applies ``key.path=value`` overrides
from the command line and checks the whole; its errors name the key and what to do.
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
from routellm_batch.config.endpoints import EndpointConfig, Sum, Uri
from routellm_batch.config.graders import AnswerGrader, JudgePairsConfig, PilotConfig, columns_of
from routellm_batch.config.label_fields import FieldType, flat_fields
from routellm_batch.config.model import Model, PlainJson
from routellm_batch.config.problems import explain
from routellm_batch.config.reading import apply_override, parse_yaml
from routellm_batch.config.schemas import check_json_schema
from routellm_batch.core.errors import ConfigError
from routellm_batch.core.types import ENDPOINTS, ROUTES, EndpointName, PartKind, Route

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a run id may look like: it is a folder name and must not leave the root."""


JsonSchema = Annotated[PlainJson, AfterValidator(check_json_schema)]


def _run_id(value: str) -> str:
    if not RUN_ID.fullmatch(value.replace("{date}", "2000-01-01")) or ".." in value:
        message = "may hold letters, digits, '.', '_' and '-' (64 at most, no '..') and {date}"
        raise ValueError(message)
    return value


class RunConfig(Model):
    """What the run is called and where it lies."""

    id: Annotated[str, AfterValidator(_run_id)]
    """Name of the run: its folder below ``root``. ``{date}`` stands for the UTC date."""
    root: Uri
    """Folder that holds all runs: a local path or any fsspec URI."""
    seed: int = 0
    """Seed of the order of rows with equal scores, and of the ``random`` router."""
    deadline_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds after which the run stops by itself with exit code 75; None sets no deadline."""
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = None
    """Date to put in place of ``{date}``, as YYYY-MM-DD; None is today, in UTC."""
    single_writer: bool = False
    """Accept a store without exclusive creates; you promise that nothing else writes this run."""


class ColumnsConfig(Model):
    """Names of the input columns; exactly one of ``prompt`` and ``messages``."""

    id: str = "id"
    """Column of row ids: text or integers, each one once."""
    prompt: str | None = None
    """Column of texts to answer."""
    messages: str | None = None
    """Column of chats to answer, each a list of ``{role, content}``."""
    system: str | None = None
    """Column of system texts that go before the prompt."""

    @model_validator(mode="after")
    def _one_text(self) -> ColumnsConfig:
        if (self.prompt is None) == (self.messages is None):
            message = "name exactly one of prompt and messages"
            raise ValueError(message)
        return self


Tokens = Annotated[int, Field(ge=1)]

USUAL_PART_TOKENS: dict[PartKind, int] = {"image": 1_500, "audio": 2_000, "video": 10_000, "file": 20_000}
"""Part of a chat → tokens that a plan without a cap expects of one where the config doesn't say: an image of a thousand
pixels a side and more, a minute of speech, half a minute of video, ten pages of a PDF. A guess, and no bound."""


class PartTokensConfig(Model):
    """The most tokens that an endpoint bills for one part of a chat that is no text; needed under a cap, by kind."""

    image: Tokens | None = None
    """Of a part ``image_url``, inline or not."""
    audio: Tokens | None = None
    """Of a part ``input_audio`` or ``audio_url``."""
    video: Tokens | None = None
    """Of a part ``video_url``."""
    file: Tokens | None = None
    """Of a part ``file``."""

    def bound(self, kind: PartKind) -> int | None:
        """Return the bound that is given; None where there is none."""
        bound: int | None = getattr(self, kind)
        return bound

    def expected(self, kind: PartKind) -> int:
        """Return the bound that is given, or else what is usual."""
        return self.bound(kind) or USUAL_PART_TOKENS[kind]


class InputConfig(Model):
    """Prompts in Parquet on any fsspec store."""

    uri: Uri
    """A Parquet file, a glob, a folder, or ``builtin:prompts`` and ``builtin:reviews``, which come with the package."""
    columns: ColumnsConfig
    """Which columns hold what."""
    keep: tuple[str, ...] = ()
    """Further input columns to copy into ``responses/``."""
    shard_rows: Annotated[int, Field(ge=1, le=65536)] = 1024
    """Maximum number of rows in a shard, the unit of retry and resume."""
    max_prompt_bytes: Annotated[int, Field(ge=1)] = 1024 * 1024
    """A prompt of more UTF-8 bytes is an invalid row and is not sent; bytes of images, audio and files don't count."""
    part_tokens: PartTokensConfig = PartTokensConfig()
    """The most tokens of an image, audio, video or file in a chat, e.g. ``{image: 1500}``."""


class RouterConfig(Model):
    """Which router scores, with which weights."""

    name: str = "outcome"
    """Name of the router, as listed in docs/routers.md."""
    checkpoint: str | None = None
    """Weights: ``builtin:NAME``, a folder, ``package:NAME`` or ``hub:ORG/NAME@REVISION``; None is the router's own."""
    embedder: EmbedderConfig = EmbedderConfig()
    """What the router reads texts with."""
    options: PlainJson = Field(default_factory=dict)
    """Settings of the router's own."""


class BudgetConfig(Model):
    """What may be spent: exactly one of the three modes, and optionally a hard cap."""

    strong_share: Annotated[Decimal, Field(ge=0, le=1)] | None = None
    """Share of the valid rows that go to the strong model."""
    usd: Sum | None = None
    """Dollars that the calls to both models are expected to cost."""
    recover: Annotated[Decimal, Field(gt=0, le=1)] | None = None
    """Part of the quality gap between weak and strong (PGR) to recover; needs ``pilot``."""
    confidence: Annotated[Decimal, Field(gt=0, lt=1)] | None = None
    """Confidence with which ``recover`` is to be held; 0.9 if left out."""
    order: Literal["auto", "score", "gain_per_dollar"] = "auto"
    """What rows are ranked by; ``auto`` is gain_per_dollar for ``usd`` where a pilot shows that it pays."""
    hard_cap_usd: Sum | None = None
    """Dollars that are never exceeded, at any moment."""
    on_overrun: Literal["degrade", "stop"] = "degrade"
    """What happens when a run would exceed the cap: strong rows go weak (degrade), or the run stops."""

    @model_validator(mode="after")
    def _one_mode(self) -> BudgetConfig:
        given = [name for name in ("strong_share", "usd", "recover") if getattr(self, name) is not None]
        if len(given) != 1:
            count = "none is given" if not given else f"{' and '.join(given)} are given"
            message = f"exactly one of strong_share, usd and recover is needed; {count}"
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
    """Failed attempts after which a row is failed; 429s do not count."""
    deadline_s: Annotated[float, Field(gt=0)] = 600
    """Seconds from a row's first attempt after which it is not tried again."""
    budget: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Retries as a share of traffic; beyond it rows wait and come back later."""
    max_error_rate: Annotated[float, Field(ge=0, le=1)] = 0.5
    """The run stops (exit code 5) when more than this share of an endpoint's last rows failed, or all its rows; 1: never."""


class LabelConfig(Model):
    """What a label must look like: one of ``values``, or JSON that holds to ``schema``."""

    column: str = "label"
    """Column of ``responses/`` that holds the label."""
    values: tuple[str, ...] = ()
    """The labels that are allowed."""
    schema_: JsonSchema | None = Field(default=None, alias="schema")
    """JSON schema that an answer must hold to."""
    reask: Annotated[int, Field(ge=0, le=3)] = 1
    """How often an answer without a valid label is asked for again."""
    columns: bool = False
    """Whether each field of a flat ``schema`` gets a column of its own in ``responses/`` too."""
    instruction: str | None = None
    """System text that asks for the label; made from the values or the schema if absent, none if empty."""

    @model_validator(mode="after")
    def _one_kind(self) -> LabelConfig:
        if bool(self.values) == (self.schema_ is not None):
            message = "give exactly one of values and schema"
            raise ValueError(message)
        if self.columns:
            if self.schema_ is None:
                message = "columns: true needs a schema, whose fields become columns; values have one column"
                raise ValueError(message)
            flat_fields(self.schema_)
        return self

    @property
    def fields(self) -> dict[str, FieldType]:
        """Fields of the schema that get columns of their own, with their types; empty without ``columns``."""
        return flat_fields(self.schema_) if self.columns and self.schema_ is not None else {}


class EndpointsConfig(Model):
    """The two endpoints that answer, and one that judges where a judge is used."""

    strong: EndpointConfig
    """The strong, expensive model."""
    weak: EndpointConfig
    """The weak, cheap model."""
    judge: EndpointConfig | None = None
    """The model that compares answers, where a judge is used."""

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
    """What the run is called and where it lies."""
    input: InputConfig
    """The prompts."""
    router: RouterConfig = RouterConfig()
    """What scores them."""
    budget: BudgetConfig
    """What may be spent."""
    endpoints: EndpointsConfig
    """The models that answer."""
    retry: RetryConfig = RetryConfig()
    """When a failed attempt is tried again."""
    label: LabelConfig | None = None
    """What a label must look like; for ``jobs/label_dataset.py`` only."""
    pilot: PilotConfig | None = None
    """A labelled sample of the job, from which a router is fitted and quality predicted."""
    grade: AnswerGrader | None = None
    """A grader for the run's own answers."""
    judge: JudgePairsConfig | None = None
    """How pairs are judged; for ``jobs/judge_pairs.py`` only."""
    cluster: ClusterConfig = ClusterConfig()
    """Where the work runs."""

    @model_validator(mode="after")
    def _bounded_if_capped(self) -> Config:
        """Refuse a cap without a limit on the length of answers: each call's worst case is reserved under the cap."""
        capped = {
            "budget.hard_cap_usd": self.budget.hard_cap_usd is not None and ("strong", "weak"),
            "pilot.usd": self.pilot is not None and ("strong", "weak"),
            "pilot.grader": self.pilot is not None and self.pilot.grader.kind == "judge" and ("judge",),
            "judge": self.judge is not None and ("judge",),
        }
        for key, name in [(key, name) for key, names in capped.items() if names for name in names]:
            endpoint: EndpointConfig | None = getattr(self.endpoints, name)
            if endpoint is None:
                message = f"endpoints.{name} is missing: {key} needs its model and price"
                raise ValueError(message)
            if endpoint.max_output_tokens is None:
                message = (
                    f"endpoints.{name}.params.max_completion_tokens is needed: "
                    f"{key} reserves the worst case of each call"
                )
                raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _pilot_where_needed(self) -> Config:
        """Refuse a budget that needs a pilot where there is none, before anything is scored."""
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
    """Return the config of a YAML file with ``key.path=value`` overrides, checked.

    Args:
        path: of the file.
        overrides: of single values, in order; a later one wins.

    Raises:
        ConfigError: the file can't be read or the config is invalid; the text names the key, the problem and, for an
            unknown key, the likely one.

    """
    source = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        advice = "; write the config file first, then what it overrides" if "=" in source else ""
        raise ConfigError("", f"no such config file{advice}", source=source) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("", f"can't be read ({type(error).__name__})", source=source) from None
    tree = parse_yaml(text, source=source)
    if not isinstance(tree, dict):
        raise ConfigError("", "must be a mapping of run, input, budget, endpoints, …", source=source)
    for override in overrides:
        apply_override(tree, override)
    return check_config(tree, source=source)


def check_config(tree: Any, *, source: str) -> Config:
    """Return the config that a parsed tree makes.

    Args:
        tree: as ``parse_yaml`` or a run's manifest has it.
        source: where it comes from, for the error.

    Raises:
        ConfigError: it is invalid; the text has every problem, with its key.

    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        (key, problem), *others = explain(error, Config)
        rest = "".join(f"\n{source}: {k}: {p}" if k else f"\n{source}: {p}" for k, p in others)
        raise ConfigError(key, problem + rest, source=source) from None


def cap_keys(config: Config) -> list[str]:
    """Return the keys of the caps on what a job's answers may cost, its pilot's included; empty without one."""
    caps = {
        "budget.hard_cap_usd": config.budget.hard_cap_usd,
        "pilot.usd": config.pilot and config.pilot.usd,
    }
    return [key for key, cap in caps.items() if cap is not None]


def input_reads(config: Config) -> list[str]:
    """Return the input columns that a job's graders compare answers with; they are read besides those of ``input``."""
    graders = (config.pilot.grader if config.pilot else None, config.grade)
    return [name for grader in graders for name in columns_of(grader)]
