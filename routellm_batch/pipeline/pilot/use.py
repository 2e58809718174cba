"""How a run gets its pilot: it pins one before it scores, makes it where there is none, and takes router and facts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from routellm_batch.budget.quality.pilot_facts import PilotFacts, load_pilot_facts
from routellm_batch.config.graders import PilotConfig
from routellm_batch.config.job import Config, RouterConfig, RunConfig
from routellm_batch.core.encoding import to_json
from routellm_batch.core.errors import ConfigError, RunMismatchError
from routellm_batch.core.events import Sink
from routellm_batch.core.halt import Halt
from routellm_batch.core.protocols import Runner
from routellm_batch.pipeline.pilot.make import CALIBRATION, ROUTER, Place, make_pilot
from routellm_batch.pipeline.pilot.place import newest_fresh, pilot_digest, pilot_uri
from routellm_batch.pipeline.run import PreparedJob
from routellm_batch.stages.plan.prediction import refuse_unmeasured
from routellm_batch.storage.changes import changed_since_begun
from routellm_batch.storage.pilots import PINNED, read_success
from routellm_batch.storage.run import Run
from routellm_batch.storage.store import FsStore


@dataclass(frozen=True, slots=True)
class JobPilot:
    """The ``PilotSource`` of a job: takes the pilot that its config asks for, and makes it where that is allowed."""

    may_make: bool
    """Whether a missing pilot is made, which costs money."""
    plan_follows: bool = True
    """Whether a plan follows, so that the pilot must have measured what the budget asks for."""

    def prepare(self, config: Config, run: Run, runner: Runner, sink: Sink, halt: Halt) -> PreparedJob | None:
        """Return the job with what its pilot brings; None where ``halt`` stopped it, and says why.

        Raises:
            ConfigError: there is no pilot, and none may be made.
            RunMismatchError: the run takes a finished pilot, and has changed an endpoint that the pilot asked.
            BudgetError: the pilot did not measure what the budget asks for; nothing is scored then.
            InputError: as ``make_pilot``.

        """
        if config.pilot is None:
            return PreparedJob(config)
        pinned = run.read_json(PINNED) or self._pin(config, config.pilot, run)
        uri = str(pinned["uri"])
        success = read_success(uri)
        _refuse_changed(config, run, uri, success)
        if success is None:
            place = Place(config, config.pilot, uri, run.id, _today(config.run).isoformat())
            success = make_pilot(place, runner, sink, halt)
        if success is None:
            return None
        job = _prepared(config, uri, success)
        if self.plan_follows:
            refuse_unmeasured(config.budget, job.facts)
        return job

    def _pin(self, config: Config, pilot: PilotConfig, run: Run) -> dict[str, Any]:
        """Choose a pilot, once for all starts of the run.

        Raises:
            ConfigError: there is none that the job can take, and none may be made.

        """
        fresh = newest_fresh(config.run.root, pilot_digest(config), pilot.max_age_days, _today(config.run))
        if fresh is None and not self.may_make:
            command = f"'routellm-batch pilot CONFIG' (costs at most ${pilot.usd})"
            problem = f"this job has no pilot yet; make it first with {command}"
            if config.budget.recover is None and config.budget.order != "gain_per_dollar":
                problem += ", or plan without one: pilot=null"
            raise ConfigError("pilot", problem)
        pinned = {"uri": fresh or pilot_uri(config.run.root, run.id), "here": fresh is None}
        run.store.create(PINNED, to_json(pinned))
        return run.read_json(PINNED) or pinned


def _refuse_changed(config: Config, run: Run, uri: str, success: dict[str, Any] | None) -> None:
    """Refuse another model than the one that a finished pilot measured."""
    if success is not None and changed_since_begun(run.store) and success["digest"] != pilot_digest(config):
        message = (
            f"{uri}: this pilot was made with other endpoints than the config has now, so what it measured does not "
            "hold for them. Put the endpoints back, or choose another run.id"
        )
        raise RunMismatchError(message)


def _today(run: RunConfig) -> date:
    return date.fromisoformat(run.date) if run.date else datetime.now(UTC).date()


def _prepared(config: Config, uri: str, success: dict[str, Any]) -> PreparedJob:
    """Return the job with the pilot's router, if it has one."""
    if not success["fitted"]:
        return PreparedJob(config, pilot=uri)
    router = RouterConfig(name="outcome", checkpoint=f"{uri}/{ROUTER}", embedder=config.router.embedder)
    facts = load_pilot_facts(FsStore(uri).read(CALIBRATION))
    return PreparedJob(config.model_copy(update={"router": router}), facts=_with_uri(facts, uri), pilot=uri)


def _with_uri(facts: PilotFacts, uri: str) -> PilotFacts:
    """Return the facts with the URI that they were read from: the folder may have been moved."""
    return facts if facts.uri == uri else replace(facts, uri=uri)
