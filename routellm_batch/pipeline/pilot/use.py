"""How a run comes by its pilot: it pins one before it scores, makes it where there is none, and takes what it gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from routellm_batch.budget.quality.pilot_facts import PilotFacts, load_pilot_facts
from routellm_batch.config.job import Config, RouterConfig
from routellm_batch.core.encoding import to_json
from routellm_batch.core.errors import ConfigError
from routellm_batch.core.events import Sink
from routellm_batch.core.halt import Halt
from routellm_batch.core.protocols import Runner
from routellm_batch.pipeline.pilot.make import CALIBRATION, ROUTER, Place, make_pilot
from routellm_batch.pipeline.pilot.place import newest_fresh, pilot_uri
from routellm_batch.pipeline.run import Prepared
from routellm_batch.stages.plan.prediction import refuse_unmeasured
from routellm_batch.storage.pilots import PINNED, read_success
from routellm_batch.storage.run import Run
from routellm_batch.storage.store import FsStore


@dataclass(frozen=True, slots=True)
class Pilots:
    """Gives a run what its pilot knows; ``pipeline.run_job`` and ``plan_job`` ask it."""

    makes: bool
    """Whether a pilot that is missing is made, which costs money."""
    plans: bool = True
    """Whether a plan follows, so that the pilot must be able to tell what the budget asks for."""

    def __call__(self, config: Config, run: Run, runner: Runner, sink: Sink, halt: Halt) -> Prepared | None:
        """Return the job as its pilot changes it, or None where ``halt`` says why not.

        Raises:
            ConfigError: there is no pilot, and none may be made.
            BudgetError: the pilot can't tell what the budget asks for; nothing is scored then.
            InputError: as ``make_pilot``.

        """
        if config.pilot is None:
            return Prepared(config)
        pinned = run.read_json(PINNED) or self._pin(config, run)
        uri = str(pinned["uri"])
        success = read_success(uri)
        if success is None:
            place = Place(config, config.pilot, uri, run.id, _today(config).isoformat())
            success = make_pilot(place, runner, sink, halt)
        if success is None:
            return None
        made = _prepared(config, uri, success)
        if self.plans:
            refuse_unmeasured(config.budget, made.facts)
        return made

    def _pin(self, config: Config, run: Run) -> dict[str, Any]:
        """Decide on a pilot, once for all starts of the run."""
        fresh = newest_fresh(config, _today(config))
        if fresh is None and not self.makes:
            usd = config.pilot.usd if config.pilot else 0
            problem = f"this job has no pilot yet; make it first with 'routellm-batch pilot CONFIG' (costs at most ${usd})"
            if config.budget.recover is None and config.budget.order != "gain_per_dollar":
                problem += ", or plan without one: pilot=null"
            raise ConfigError("pilot", problem)
        pinned = {"uri": fresh or pilot_uri(config, run.id), "here": fresh is None}
        run.store.create(PINNED, to_json(pinned))
        return run.read_json(PINNED) or pinned


def _today(config: Config) -> date:
    return date.fromisoformat(config.run.date) if config.run.date else datetime.now(UTC).date()


def _prepared(config: Config, uri: str, success: dict[str, Any]) -> Prepared:
    """Return the job with the pilot's router, if it has one."""
    if not success["fitted"]:
        return Prepared(config, pilot=uri)
    router = RouterConfig(name="outcome", checkpoint=f"{uri}/{ROUTER}", embedder=config.router.embedder)
    facts = load_pilot_facts(FsStore(uri).read(CALIBRATION))
    return Prepared(config.model_copy(update={"router": router}), facts=_here(facts, uri), pilot=uri)


def _here(facts: PilotFacts, uri: str) -> PilotFacts:
    """Return the facts with the address that they were read from: a folder may have been moved."""
    return facts if facts.uri == uri else replace(facts, uri=uri)
