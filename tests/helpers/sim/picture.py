"""A simulated world in words, for whoever reads a failure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from helpers.sim.parts import Driver, Process
from helpers.sim.world import World

from routellm_batch.storage.ledger.shard import ShardLedger


@contextmanager
def pictured(world: World) -> Iterator[None]:
    """Add the picture to what fails."""
    try:
        yield
    except AssertionError as error:
        error.add_note(picture(world))
        raise


def picture(world: World) -> str:
    """Return what there is: starts, processes, requests, ledgers."""
    lines = [f"at {world.now_s:.1f} s; {world.provider.billed.total()} billed, cap {world.cap_nano}"]
    lines += [line for driver in world.drivers for line in _driver(driver)]
    lines += [_process(process) for process in world.processes]
    waiting = [f"{call.shard}:{call.row} of {call.runner[-4:]}" for call in world.provider.waiting]
    lines.append(f"on their way: {', '.join(waiting) or 'none'}")
    lines += [line for shard in world.scene.run.shards for line in _shard(world, shard.name)]
    return "\n".join(lines)


def _driver(driver: Driver) -> Iterator[str]:
    how = "at work" if driver.process.alive else repr(driver.error or driver.halt.reason or driver.halt.state)
    yield f"start {driver.epoch}: {how}"
    stage = driver.stage
    if stage is not None:
        running = {shard: (task.grant_nano, task.turn) for shard, task in stage.queue.running.items()}
        names = ("_waiting", "_unpaid", "_stuck", "_unfinished")
        lists = {name: [task.shard.index for task in getattr(stage.queue, name)] for name in names}
        yield f"  running {running}, spent {stage.queue.spent}, {lists}"


def _process(process: Process) -> str:
    how = "frozen" if process.frozen else "alive" if process.alive else "dead"
    tasks = [
        f"{copy.job.task.shard.index} {copy.job.task.work.mode}"
        f" left {copy.wallet.left_nano if copy.wallet else None}"
        f" as {copy.ledger.runner[-4:] if copy.ledger else None}"
        for copy in process.running
    ]
    return f"process {process.pid} on {process.host.name}, {how}: {tasks}"


def _shard(world: World, shard: str) -> Iterator[str]:
    for number, entry in enumerate(world.provider.log(shard)):
        what = (
            f"{entry.route} {list(entry.rows)}" if entry.kind == "intent" else f"{entry.epoch}.{entry.turn}"
        )
        yield f"  {shard}/{number}: {entry.kind} by {entry.runner[-4:]} {what}"
    state = ShardLedger(world.store, shard).load()
    yield f"  {shard}: {state.spent_nano} booked, {dict(state.orphans)} open"
    for row, one in sorted(state.records.items()):
        yield f"    {row}: {one.status} {one.error_kind} {one.attempts} sent {one.cost_nano}+{one.presumed_nano}"
