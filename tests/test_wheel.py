"""The wheel that users install, built and tried alone: everything it needs is in it."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from helpers.patience import patience

REPO = Path(__file__).resolve().parents[1]

PLAN = """
run: {{id: wheel, root: "{root}"}}
input:
  uri: "builtin:prompts"
  columns: {{id: id, prompt: prompt}}
router: {{name: outcome, checkpoint: "builtin:outcome-v1", embedder: {{name: static}}}}
budget: {{strong_share: 0.26}}
endpoints:
  strong: {{kind: simulated, model: large, price: {{input: 2.5, output: 10}}}}
  weak: {{kind: simulated, model: small, price: {{input: 0.1, output: 0.4}}}}
cluster: {{kind: serial}}
"""


def _run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=patience(100), check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel with the build back end installed here, so that nothing is downloaded."""
    out = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", out, cwd=REPO)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a new environment that lends its dependencies; return its bin folder."""
    folder = tmp_path_factory.mktemp("alone")
    _run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    paths = {"base": str(folder / "venv"), "platbase": str(folder / "venv")}
    bin_folder = Path(sysconfig.get_path("scripts", "venv", paths))
    pip = (bin_folder / "python", "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", wheel)
    _run(*pip, cwd=folder)
    # A folder named in a .pth file comes last, and its own .pth files (the editable checkout) don't count.
    borrowed = Path(sysconfig.get_path("purelib", "venv", paths)) / "borrowed.pth"
    borrowed.write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return bin_folder


def test_wheel_holds_what_it_needs(wheel: Path) -> None:
    """Weights, templates, examples and licences are in the wheel; tests and jobs are not."""
    names = zipfile.ZipFile(wheel).namelist()
    wanted = {
        "weights": r"routellm_batch/.*\.safetensors$",
        "a model card": r"routellm_batch/.*\.md$",
        "templates": r"routellm_batch/reporting/.*\.(html|j2)$",
        "examples": r"routellm_batch/examples/prompts\.parquet$",
        "typing marker": r"routellm_batch/py\.typed$",
        "licence": r"dist-info/licenses/LICENSE$",
        "notice": r"dist-info/licenses/NOTICE$",
    }
    assert [what for what, name in wanted.items() if not any(re.search(name, n) for n in names)] == []
    top = {name.split("/")[0] for name in names}
    assert {"routellm_batch"} == {name for name in top if not name.endswith(".dist-info")}


def test_wheel_keeps_its_size(wheel: Path) -> None:
    """The wheel stays a small download: at most 15 MB."""
    assert wheel.stat().st_size <= 15_000_000


def test_installed_alone_it_is_the_wheel(installed: Path, tmp_path: Path) -> None:
    """Outside the checkout, what is imported is what the wheel installed."""
    code = "import routellm_batch; print(routellm_batch.__file__)"
    found = Path(_run(installed / "python", "-c", code, cwd=tmp_path).strip())
    assert installed.parent in found.parents


def test_installed_alone_it_helps(installed: Path, tmp_path: Path) -> None:
    """``routellm-batch --help`` names every command."""
    text = _run(installed / "routellm-batch", "--help", cwd=tmp_path)
    commands = ("run", "plan", "evaluate", "train", "report", "endpoint")
    assert [name for name in commands if not re.search(rf"\b{name}\b", text)] == []


def test_installed_alone_it_scores(installed: Path, tmp_path: Path) -> None:
    """The shipped router and embedder score the shipped prompts, and a plan is written."""
    config = tmp_path / "plan.yaml"
    config.write_text(PLAN.format(root=tmp_path / "root"), encoding="utf-8")
    _run(installed / "routellm-batch", "plan", config, cwd=tmp_path)
    assert len(list((tmp_path / "root").rglob("plan.json"))) == 1
