"""A job with real endpoints, real processes and something that goes wrong: what the fault tests are written with."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helpers.jobs import PRICES, job_tree, write_prompts
from helpers.oracle import bills
from helpers.patience import POLL_S, wait_for
from helpers.programs import Program

REPO = Path(__file__).resolve().parents[2]
INJECT = REPO / "tests" / "faults" / "inject"
KEY = "sk-canary-7f3a9d51"
WORD = "CANARYPROMPT"
"""Stands in every prompt, and must stand nowhere else."""
MARK = "MARKED"
ROWS = 240
SHARD_ROWS = 16
CONCURRENCY = 8
"""Of each endpoint, for the whole run."""
IN_FLIGHT = 2 * CONCURRENCY
"""The most calls that can be open at once."""
SERVE = (
    "import sys\n"
    "from routellm_batch.endpoints.simulator.serve import serve\n"
    "from routellm_batch.endpoints.simulator.settings import simulate_spec\n"
    "serve(simulate_spec(sys.argv[1], port=int(sys.argv[2]), log=sys.argv[3]))\n"
)
"""What ``endpoint simulate --faults FILE --port P --log FILE`` does, without the second that the whole CLI takes."""
SETTLED_S = 0.5
END_S = 60.0
"""No start takes longer than this on a calm machine."""


def texts(rows: int = ROWS) -> list[str]:
    """Return prompts of distinct lengths, a canary in each."""
    return [f"{WORD} {n} {'x' * n}" for n in range(rows)]


def write_atomically(path: Path, value: Any) -> None:
    """Put a JSON file in place at once, as another process may be reading it."""
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)


class Lab:
    """One job in one folder; ``close`` ends all that was started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "billing.log"
        self.control = folder / "control.json"
        self.run = folder / "root" / "runs" / "job"
        self.changes: dict[str, Any] = {}
        """Of the config; keys as in ``job_tree``."""
        self.env: dict[str, str] = {}
        self._ports: dict[str, str] = {}
        self._endpoints: dict[str, Program] = {}
        self._programs: list[Program] = []
        self.ids: list[str] = []
        write_atomically(self.control, {})

    def close(self) -> None:
        """End every program."""
        for program in self._programs:
            program.close()

    def write_input(self, prompts: Sequence[Any] | None = None, **options: Any) -> None:
        """Write the input file."""
        found = texts() if prompts is None else prompts
        write_prompts(self.folder / "in.parquet", found, **options)
        self.ids = [f"r{n:04d}" for n in range(len(found))]

    def serve(self, **settings: Any) -> None:
        """Start both endpoints, or start them anew where they were, with these settings of the simulation."""
        self.stop_serving()
        for route in PRICES:
            port = self._ports.get(route, "0")
            file = self.folder / f"{route}-faults.json"
            price = {name: str(usd) for name, usd in PRICES[route].items()}
            plain = {"latency_ms": 30, "output_tokens": 24, "price": price, **settings}
            file.write_text(json.dumps(plain))
            arguments = ["-c", SERVE, str(file), port, str(self.log)]
            self._endpoints[route] = self._start(arguments, f"{route}-{len(self._programs)}")
        for route, program in self._endpoints.items():
            wait_for(lambda program=program: "http" in program.said or program.ended, 40, "an endpoint")
            self._ports[route] = program.out.read_text().strip().rpartition(":")[2].partition("/")[0]
            assert self._ports[route], program.said

    def stop_serving(self) -> None:
        """End both endpoints."""
        for program in self._endpoints.values():
            program.close()
        self._endpoints.clear()

    def config(self, **changes: Any) -> Path:
        """Write the config of the job, with these changes for this start."""
        urls = {route: f"http://127.0.0.1:{port}/v1" for route, port in self._ports.items()}
        plain = {
            "run__root": str(self.run.parents[1]),
            "input__shard_rows": SHARD_ROWS,
            "endpoints__strong__api_key": "env:FAULT_KEY",
            "endpoints__weak__api_key": "env:FAULT_KEY",
            "endpoints__strong__limits": {"concurrency": CONCURRENCY},
            "endpoints__weak__limits": {"concurrency": CONCURRENCY},
            "endpoints__strong__timeout_s": 5,
            "endpoints__weak__timeout_s": 5,
        }
        tree = job_tree(self.folder, **urls, **{**plain, **self.changes, **changes})
        path = self.folder / "job.yaml"
        path.write_text(json.dumps(tree, default=str))
        return path

    def start(self, command: str = "run", **changes: Any) -> Program:
        """Start the job, or go on with it."""
        arguments = ["-m", "routellm_batch.cli", command, str(self.config(**changes))]
        return self._start(arguments, f"driver-{len(self._programs)}")

    def finish(self, expected: int = 0, **changes: Any) -> Program:
        """Run the job to its end and check its exit code."""
        program = self.start(**changes)
        found = program.wait(END_S)
        assert expected == found, f"exit code {found}: {program.said[-3000:]}"
        return program

    def go_on(self, job: Program) -> None:
        """Wait for the end of a start; if it left for now, the same command goes on."""
        code = job.wait(END_S)
        assert "Traceback" not in job.said
        assert code in {0, 75}, job.said
        if code == 75:
            self.finish()

    def python(self, *arguments: str, name: str) -> Program:
        """Start a Python program in the environment of the job."""
        return self._start(arguments, f"{name}-{len(self._programs)}")

    def _start(self, arguments: Sequence[str], name: str) -> Program:
        program = Program([sys.executable, *arguments], self.folder, name, self.environment())
        self._programs.append(program)
        return program

    def environment(self) -> Mapping[str, str]:
        """Return what the programs find in their environment."""
        return {
            **os.environ,
            "PYTHONPATH": f"{REPO}{os.pathsep}{INJECT}",
            "FAULT_KEY": KEY,
            "FAULT_PLAN": str(self.run / "plan.json"),
            "FAULTY_CONTROL": str(self.control),
            "ROUTELLM_LEASE_S": "3",
            "ROUTELLM_LOCAL_DIR": str(self.folder / "local"),
            **self.env,
        }

    def storage_fails(self, **faults: Any) -> None:
        """Have the run on the faulty store, and say what it does from now on."""
        write_atomically(self.control, faults)
        self.env["FAULTS"] = "storage"
        self.changes["run__root"] = f"faulty://{self.run.parents[1]}"

    @property
    def billed(self) -> int:
        """Bills so far."""
        return len(bills(self.log))

    def wait_for_bills(self, count: int, program: Program) -> None:
        """Return once so many calls are billed; a failure if the job ends before."""
        wait_for(lambda: self.billed >= count or program.ended, 40, f"{count} bills")
        assert not program.ended, program.said[-3000:]

    def requests(self) -> int:
        """Return how many requests the endpoints have answered, whatever they said."""
        return self.log.read_bytes().count(b"\n") if self.log.exists() else 0

    def settled_requests(self) -> int:
        """Return the same once no more are being answered: those of a killed job still are, for a while."""
        before, since = self.requests(), time.monotonic()
        while time.monotonic() - since < SETTLED_S:
            time.sleep(POLL_S)
            if self.requests() != before:
                before, since = self.requests(), time.monotonic()
        return before

    def count(self, pattern: str) -> int:
        """Return how many objects of the run match a pattern; not what a killed process was about to put there."""
        return sum(not path.name.startswith(".") for path in self.run.glob(pattern))


@contextmanager
def open_lab(folder: Path) -> Iterator[Lab]:
    """Yield a lab with the usual input; end all that it started."""
    lab = Lab(folder)
    try:
        lab.write_input()
        yield lab
    finally:
        lab.close()
