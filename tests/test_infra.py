"""The container files say what the program understands, and give nothing away."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.patience import patience

from routellm_batch.config.job import load_config

INFRA = Path(__file__).resolve().parents[1] / "infra"
BIN = Path(sys.executable).parent
COMPOSE = yaml.safe_load((INFRA / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (INFRA / "Dockerfile").read_text(encoding="utf-8")


def _instructions(keyword: str) -> list[str]:
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line.partition(" ")[2].strip() for line in joined.splitlines() if line.startswith(f"{keyword} ")]


def test_image_runs_without_root() -> None:
    """The last word on the user is a number other than 0, and it comes before the entry point."""
    assert ["10001"] == _instructions("USER")
    assert DOCKERFILE.index("\nUSER ") < DOCKERFILE.index("\nENTRYPOINT ")


def test_image_has_two_stages_and_no_secret() -> None:
    """Only the environment leaves the build stage, and nothing that looks like a key is in the file."""
    assert len(_instructions("FROM")) == 2
    assert ["--from=build /opt/venv /opt/venv"] == [c for c in _instructions("COPY") if "--from" in c]
    assert not re.search(r"(?i)(api_key|secret|token|password)\s*=", DOCKERFILE)


def test_image_copies_what_exists_and_is_not_ignored() -> None:
    """What the build stage copies is in the checkout and in .dockerignore's list."""
    copied = [w for c in _instructions("COPY") if "--from" not in c for w in shlex.split(c)[:-1]]
    allowed = (INFRA.parent / ".dockerignore").read_text(encoding="utf-8").split()
    assert [name for name in copied if not (INFRA.parent / name).exists() or f"!{name}" not in allowed] == []


def test_ports_are_published_on_loopback() -> None:
    """No service publishes a port to the network."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("name", SERVICES)
def test_services_are_hardened(name: str) -> None:
    """Every container is read-only but for /tmp, has no capability, and can't gain one."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert ["ALL"] == service["cap_drop"]
    assert ["no-new-privileges:true"] == service["security_opt"]
    assert "privileged" not in service


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "scheduler"])
def test_services_share_the_schedulers_loopback(name: str) -> None:
    """Dask's ports and the models listen on a loopback that only these containers have."""
    assert SERVICES[name]["network_mode"] == "service:scheduler"


def test_job_runs_only_when_asked() -> None:
    """The job is in a profile of its own and waits for the prompts to be on the store."""
    job = SERVICES["job"]
    assert ["job"] == job["profiles"]
    assert job["depends_on"]["prompts"]["condition"] == "service_completed_successfully"


def test_job_config_fits_the_services() -> None:
    """The job's config loads, and names the scheduler and the models where compose.yaml starts them."""
    config = load_config(INFRA / "compose-job.yaml")
    assert config.cluster.address in SERVICES["worker-1"]["entrypoint"]
    for name in ("strong", "weak"):
        command = SERVICES[name]["entrypoint"]
        port = command[command.index("--port") + 1]
        assert f"http://127.0.0.1:{port}/v1" == getattr(config.endpoints, name).base_url


@pytest.mark.parametrize(
    "name", [name for name, s in SERVICES.items() if s["entrypoint"][0] in ("dask", "routellm-batch")]
)
def test_commands_exist(name: str) -> None:
    """Each command and each of its flags is in that command's own help."""
    words = SERVICES[name]["entrypoint"]
    verbs = [word for word in words[1:3] if re.fullmatch(r"[a-z]+", word)]
    env = {"COLUMNS": "200", "PATH": "/usr/bin:/bin"}
    help_text = subprocess.run(
        [BIN / words[0], *verbs, "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=patience(60),
        env=env,
    ).stdout
    flags = [word for word in words if word.startswith("--")]
    assert [flag for flag in flags if not re.search(rf"{flag}\b", help_text)] == []
