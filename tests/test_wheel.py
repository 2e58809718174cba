"""The wheel that users install, built and tried alone: everything it needs is in it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
from helpers.patience import patience
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


def _requirements(name: str) -> Iterator[tuple[Requirement, bool]]:
    """Yield what an installed distribution requires on this platform, and whether only an extra does."""
    for text in distribution(name).requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": ""}):
            yield requirement, False
        elif "extra" in str(marker):
            yield requirement, True


def _brought_along() -> set[str]:
    """Return the names of all distributions that ``pip install .`` brings, without any extra of ours."""
    names: set[str] = set()
    waiting = [Requirement("routellm-batch")]
    seen: set[str] = set()
    while waiting:
        one = waiting.pop()
        if str(one) in seen:
            continue
        seen.add(str(one))
        name = canonicalize_name(one.name)
        try:
            required = list(_requirements(name))
        except PackageNotFoundError:
            continue  # another platform's
        names.add(name)
        wanted = {extra for text in one.extras for extra in (text, text.replace("_", "-"))}
        for requirement, only_extra in required:
            marker = requirement.marker
            if not only_extra or any(marker and marker.evaluate({"extra": extra}) for extra in wanted):
                waiting.append(requirement)
    return names - {"routellm-batch"}


def _lend(folder: Path) -> None:
    """Link the files of what ``pip install .`` brings into a folder, and nothing else that is installed here."""
    folder.mkdir()
    here = Path(sysconfig.get_path("purelib"))
    for name in _brought_along():
        tops = {file.parts[0] for file in distribution(name).files or () if file.parts[0] != ".."}
        for top in tops - {"__pycache__"}:
            if not top.endswith(".pth") and not (folder / top).exists():
                (folder / top).symlink_to(here / top)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a new environment that has its declared dependencies alone; return its bin folder."""
    folder = tmp_path_factory.mktemp("alone")
    _run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    paths = {"base": str(folder / "venv"), "platbase": str(folder / "venv")}
    bin_folder = Path(sysconfig.get_path("scripts", "venv", paths))
    pip = (bin_folder / "python", "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", wheel)
    _run(*pip, cwd=folder)
    _lend(folder / "lent")
    borrowed = Path(sysconfig.get_path("purelib", "venv", paths)) / "lent.pth"
    borrowed.write_text(f"{folder / 'lent'}\n", encoding="utf-8")
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
    commands = ("run", "label", "judge", "plan", "pilot", "evaluate", "train", "report", "endpoint")
    assert [name for name in commands if not re.search(rf"\b{name}\b", text)] == []


def test_installed_alone_it_scores(installed: Path, tmp_path: Path) -> None:
    """The shipped router and embedder score the shipped prompts, and a plan is written."""
    config = tmp_path / "plan.yaml"
    config.write_text(PLAN.format(root=tmp_path / "root"), encoding="utf-8")
    _run(installed / "routellm-batch", "plan", config, cwd=tmp_path)
    assert len(list((tmp_path / "root").rglob("plan.json"))) == 1


OPTIONAL = frozenset(("torch", "transformers", "huggingface_hub", "dask_cuda", "s3fs", "matplotlib"))
"""What an extra brings; each is imported where it is first used."""


EVERY = """
import importlib, pkgutil, routellm_batch

for module in pkgutil.walk_packages(routellm_batch.__path__, "routellm_batch."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            assert error.name.partition(".")[0] in {optional}, (module.name, error)
print("all")
"""


def test_every_import_is_declared() -> None:
    """Each library that the package imports is one that pyproject.toml names, in its dependencies or in an extra."""
    imported: set[str] = set()
    for path in (REPO / "routellm_batch").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            imported |= {name.partition(".")[0] for name in names}
    required = list(_requirements("routellm-batch"))
    core = {canonicalize_name(one.name) for one, only_extra in required if not only_extra}
    declared = {canonicalize_name(one.name) for one, _ in required}
    owners = packages_distributions()
    outside = imported - set(sys.stdlib_module_names) - {"routellm_batch", "dask_cuda"}
    owned = {name: {canonicalize_name(owner) for owner in owners[name]} for name in outside}
    assert [] == sorted(name for name, owner in owned.items() if not owner & declared)
    extras = {name for name, owner in owned.items() if not owner & core}
    assert set() == extras - OPTIONAL


def test_installed_alone_every_module_imports(installed: Path, tmp_path: Path) -> None:
    """With the declared dependencies alone every module imports, but for those that are of an extra."""
    script = tmp_path / "every.py"
    script.write_text(EVERY.format(optional=set(OPTIONAL)), encoding="utf-8")
    assert "all" == _run(installed / "python", script, cwd=tmp_path).strip()
