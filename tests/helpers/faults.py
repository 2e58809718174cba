"""Jobs in processes of their own, with things done to them, and the oracle: the endpoints' own billing logs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import yaml
from helpers.jobs import PRICES, billing, comparable, job_tree, nano, prompts, responses, write_prompts

from routellm_batch.storage.run import Run, open_existing

COMMAND = str(Path(sys.executable).with_name("routellm-batch"))
LEASE_S = 3
ROWS = 240
KEY = "sk-canary-0123456789abcdef"
CANARY = "canaryprompt"
HELPERS = Path(__file__).resolve().parent


@dataclass
class Process:
    """A program that a test started."""

    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def text(self) -> str:
        """What it has printed."""
        return self.log.read_text(errors="replace")

    def wait(self, timeout_s: float = 60) -> int:
        """Wait for its end; its exit code."""
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            for one in self.workers():
                os.kill(one.pid, signal.SIGABRT)
            time.sleep(2)
            raise

    def workers(self) -> list[psutil.Process]:
        """Dask worker processes below it, oldest first."""
        try:
            below = psutil.Process(self.popen.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        found = []
        for process in below:
            try:
                if "spawn_main" in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def end(self) -> None:
        """Kill it and what it started."""
        family: list[psutil.Process] = []
        try:
            family = psutil.Process(self.popen.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            pass
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self.popen.kill()
        self.popen.wait(20)


@dataclass
class Scene:
    """A folder with prompts, two endpoints with their billing logs, and the processes of a test."""

    folder: Path
    urls: Mapping[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    root: str = ""
    processes: list[Process] = field(default_factory=list)

    def start(self, *command: str | Path, **env: str) -> Process:
        """Start a program of the product."""
        log = self.folder / f"{len(self.processes)}.out"
        surroundings = {**os.environ, **self.env, **env}
        with log.open("wb") as out:
            popen = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=surroundings,
            )
        process = Process(popen, log)
        self.processes.append(process)
        return process

    def config(self, name: str = "job.yaml", **changes: Any) -> Path:
        """Write the job's config; ``changes`` as in ``job_tree``."""
        settings: dict[str, Any] = {
            "cluster": {"kind": "local", "workers": 2},
            "input__shard_rows": 32,
            "endpoints__weak__limits": {"concurrency": 16},
            "endpoints__strong__limits": {"concurrency": 16},
            "endpoints__weak__api_key": "env:CANARY_KEY",
            "run__root": self.root or str(self.folder / "root"),
        }
        tree = job_tree(self.folder, **self.urls, **{**settings, **changes})
        path = self.folder / name
        path.write_text(yaml.safe_dump(json.loads(json.dumps(tree, default=str))))
        return path

    def run(self, config: Path, *more: str, **env: str) -> Process:
        """Start the job."""
        return self.start(COMMAND, "run", config, *more, **env)

    @property
    def billed(self) -> list[dict[str, Any]]:
        """Every line of the billing logs, in order."""
        return billing(*self.folder.glob("*.bills"))

    def wait_billed(self, lines: int, timeout_s: float = 40) -> None:
        """Wait until the endpoints have billed so many requests."""
        wait_for(lambda: len(self.billed) >= lines, f"{lines} billed requests", timeout_s)

    @property
    def ended(self) -> Run:
        """The run folder."""
        return open_existing(f"{self.root or self.folder / 'root'}/runs/job")[0]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Every row of ``responses/``."""
        return responses(self.ended)

    @property
    def cost(self) -> dict[str, Any]:
        """``report/cost.json``."""
        return dict(json.loads(self.ended.store.read("report/cost.json")))


def wait_for(ready: Callable[[], bool], what: str, timeout_s: float = 40) -> None:
    """Poll until ``ready()``; AssertionError when the time is up."""
    until = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < until, f"not in {timeout_s} s: {what}"
        time.sleep(0.05)


@contextmanager
def scene(
    folder: Path, *, rows: int = ROWS, texts: Sequence[str] | None = None, **settings: Any
) -> Iterator[Scene]:
    """Write prompts, serve both models, and end whatever was started. ``settings`` are the simulated servers'."""
    write_prompts(folder / "in.parquet", texts or prompts(rows, prefix=CANARY))
    env = {
        "ROUTELLM_LEASE_S": str(LEASE_S),
        "ROUTELLM_LOCAL_DIR": str(folder / "local"),
        "CANARY_KEY": KEY,
        "PYTHONPATH": os.pathsep.join(
            [str(HELPERS / "faulty"), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
    }
    made = Scene(folder, env=env)
    try:
        made.urls = {route: serve(made, route, **settings) for route in ("strong", "weak")}
        yield made
    finally:
        with ExitStack() as stack:
            for process in made.processes:
                stack.callback(process.end)


def serve(made: Scene, name: str, *, port: int = 0, **settings: Any) -> str:
    """Serve a model in a process of its own; its base URL. It bills to ``<name>.bills``."""
    given = {"latency_ms": 60, "output_tokens": 12, **settings}
    file = made.folder / f"{name}.json"
    file.write_text(json.dumps(given))
    price = PRICES.get(name, PRICES["weak"])
    options = ["--faults", file, "--log", made.folder / f"{name}.bills", "--port", str(port)]
    prices = ["--price-input", str(price["input"]), "--price-output", str(price["output"])]
    server = made.start(COMMAND, "endpoint", "simulate", *options, *prices)
    wait_for(lambda: "http://" in server.text or server.popen.poll() is not None, f"the {name} server", 30)
    return next(word for word in server.text.split() if word.startswith("http://"))


def check_answered(made: Scene, *, reference: Sequence[Mapping[str, Any]] | None = None) -> None:
    """Oracle A and D: every input row exactly once, answered as in a run without faults."""
    rows = made.rows
    counted = Counter(row["id"] for row in rows)
    assert {f"r{n:04d}": 1 for n in range(ROWS)} == counted
    if reference is not None:
        names = ("id", "route", "score", "answer", "status", "error_kind", "model", "finish_reason")
        assert [{name: row[name] for name in names} for row in reference] == [
            {name: row[name] for name in names} for row in comparable(rows)
        ]


def check_money(made: Scene, *, cap_nano: int | None = None, open_at_kills: int = 0) -> None:
    """Oracle B and C: the cap held at every event, and what was billed in vain is in the report as presumed."""
    sums, total = 0, Counter[str]()
    for line in made.billed:
        sums += line["nano"]
        assert cap_nano is None or sums <= cap_nano, f"{sums} of {cap_nano} at {line['t']}"
        if line["status"] == 200:
            total[line["request_key"]] += 1
    cost = made.cost
    settled, presumed = nano(cost["spent_usd"]), nano(cost["presumed_usd"])
    assert settled + presumed >= sums, f"billed {sums}, told {settled} + {presumed}"
    assert settled <= sums
    twice = sum(times - 1 for times in total.values())
    assert twice <= open_at_kills, f"{twice} paid twice, {open_at_kills} were in flight"


def check_secrets(made: Scene) -> None:
    """Oracle E: no key and no prompt in anything that was printed, written beside the answers, or named."""
    for process in made.processes:
        assert KEY not in process.text
        assert CANARY not in process.text
    for path in made.folder.rglob("*"):
        if not path.is_file() or path.name == "in.parquet":
            continue
        assert CANARY not in path.name
        data = path.read_bytes()
        assert KEY.encode() not in data, path
        assert CANARY.encode() not in data, path


def check_quiet(made: Scene, config: Path, code: int = 0) -> None:
    """Oracle F: the finished run, run again, calls nothing and exits as it did."""
    before = len(made.billed)
    assert (code, before) == (made.run(config).wait(), len(made.billed))


def kill(process: psutil.Process | subprocess.Popen[bytes], number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a process that the test started, by its id."""
    os.kill(process.pid, number)


def usd(nano_usd: int) -> str:
    """Return nano-dollars as config text."""
    return f"{Decimal(nano_usd).scaleb(-9):f}"
