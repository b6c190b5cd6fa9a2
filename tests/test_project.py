"""The project's own promises: what is declared, locked, shipped and kept short."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def requirements() -> list[Requirement]:
    extras = [line for lines in EXTRAS.values() for line in lines]
    return [Requirement(line) for line in (*PROJECT["dependencies"], *extras)]


def locked() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def test_ranges_are_bounded():
    for requirement in requirements():
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators == {">=", "<"}, str(requirement)


def test_lock_lies_within_the_ranges():
    versions = locked()
    not_locked = {Requirement(line).name for line in EXTRAS["track"]}
    for requirement in requirements():
        if requirement.name not in not_locked:
            version = versions[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), f"{requirement} against {version}"
    assert versions["torch"] == "2.13.0"
    assert not any("+" in version for version in versions.values())


@pytest.mark.parametrize("python", ["3.10", "3.11"])
def test_the_lock_for_omnigibson_lies_within_the_ranges(python):
    lines = (ROOT / "constraints-omnigibson.txt").read_text().splitlines()
    here = {"python_full_version": f"{python}.5", "python_version": python}
    rows = [Requirement(line) for line in lines if not line.startswith("#")]
    versions = {
        canonicalize_name(row.name): str(row.specifier).removeprefix("==")
        for row in rows if row.marker is None or row.marker.evaluate(here)
    }  # fmt: skip
    core = [Requirement(line) for line in PROJECT["dependencies"]]
    train = [Requirement(line) for line in EXTRAS["train"]] if python == "3.11" else []
    for requirement in (*core, *train):
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} against {version}"
    assert versions["numpy"] == "1.26.4" and versions["torch"] == "2.13.0"


def test_no_package_host_is_named():
    locks = ("constraints.txt", "constraints-omnigibson.txt")
    for name in ("pyproject.toml", *locks, "Makefile", ".ci/run"):
        text = (ROOT / name).read_text()
        assert not re.search(r"https?://|index-url|find-links", text), name


def test_citation_and_package_agree_on_the_version():
    text = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {PROJECT['version']}\n" in text


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("target", ["demo", "test", "check", "format", "bench", "bench-peers"])
def test_make_target_makes_its_environment_first(target, tmp_path):
    command = ["make", "-n", target, f"VENV={tmp_path / 'venv'}", f"PEERS={tmp_path / 'peers'}"]
    plan = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"-m venv {tmp_path / 'venv'}" in plan
    assert plan.index("pip install") < len(plan.rstrip()) - len(plan.rstrip().splitlines()[-1])
    assert (f"-m venv {tmp_path / 'peers'}" in plan) == (target == "bench-peers")


def test_import_needs_no_torch():
    program = "import sys, dexfw_envs, dexfw_envs.demos.store; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_package_never_imports_an_extra_at_the_top():
    core = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    extras = {canonicalize_name(requirement.name) for requirement in requirements()} - core
    for path in (ROOT / "dexfw_envs").rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found = {canonicalize_name(name.split(".")[0]) for name in names} & extras
            assert not found, f"{relative(path)} imports {found}, which not every user has"


@pytest.mark.parametrize("path", sorted((ROOT / "dexfw_envs").rglob("*.py")), ids=relative)
def test_package_parses_on_the_oldest_python(path):
    ast.parse(path.read_text(), feature_version=(3, 10))


def test_no_baseline_imports_another():
    names = {path.stem for path in (ROOT / "baselines").glob("*.py")}
    for path in (ROOT / "baselines").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [a.name for a in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                assert not set(module.split(".")) & {"baselines", *names}, (
                    f"{relative(path)}: {module}"
                )


def test_what_is_kept_of_results_stays_small():
    sizes = {path: path.stat().st_size for path in ROOT.glob("results/**/*") if path.is_file()}
    assert sum(sizes.values()) < 30e6
    assert all(size <= 4e6 for path, size in sizes.items() if path.suffix == ".safetensors")


def test_data_files_are_not_ignored():
    """Seed demonstrations and policies must reach the wheel, which holds what git keeps."""
    patterns = (ROOT / ".gitignore").read_text().split()
    assert not [p for p in patterns if p.endswith((".h5", ".hdf5", ".npz", "policies/"))]
    assert (ROOT / "dexfw_envs" / "py.typed").exists()
