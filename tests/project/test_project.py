"""The project's own promises: what is declared, locked, shipped and kept short."""

import ast
import os
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

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
NEEDS_MAKE = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def requirements() -> list[Requirement]:
    extras = [line for lines in EXTRAS.values() for line in lines]
    return [Requirement(line) for line in (*PROJECT["dependencies"], *extras)]


def python(version: str) -> dict[str, str]:
    """What markers of requirements ask about a Python, such as "3.12"."""
    return {"python_version": version, "python_full_version": f"{version}.5"}


def applies(requirement: Requirement, version: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(python(version))


def locked(version: str, name: str = "constraints.txt") -> dict[str, str]:
    """The versions that a lock gives to a Python; it may name a package once."""
    lines = (ROOT / name).read_text().splitlines()
    rows = [Requirement(line) for line in lines if line and not line.startswith("#")]
    found = {}
    for row in rows:
        if applies(row, version):
            assert canonicalize_name(row.name) not in found, f"{row.name} twice for {version}"
            found[canonicalize_name(row.name)] = str(row.specifier).removeprefix("==")
    return found


def test_ranges_are_bounded():
    for requirement in requirements():
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators == {">=", "<"}, str(requirement)


def check_lock(versions: dict[str, str], asked: list[Requirement], version: str) -> None:
    for requirement in asked:
        if applies(requirement, version):
            found = versions[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(found), f"{requirement} against {found}"


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_one_lock_serves_every_python_within_the_ranges(version):
    versions = locked(version)
    not_locked = {Requirement(line).name for line in EXTRAS["track"]}
    asked = [requirement for requirement in requirements() if requirement.name not in not_locked]
    if version == "3.10":  # the core alone, and what its tests need
        asked = [Requirement(line) for line in (*PROJECT["dependencies"], *EXTRAS["dev"])]
    check_lock(versions, asked, version)
    assert versions["torch"] == "2.13.0"
    assert versions["mujoco"] == ("3.17.0" if version == "3.10" else "4.0.0")
    assert not any("+" in found for found in versions.values())


@pytest.mark.parametrize("version", ["3.10", "3.11"])
def test_the_lock_for_omnigibson_lies_within_the_ranges(version):
    versions = locked(version, "constraints-omnigibson.txt")
    core = [Requirement(line) for line in PROJECT["dependencies"]]
    train = [Requirement(line) for line in EXTRAS["train"]] if version == "3.11" else []
    check_lock(versions, [*core, *train], version)
    assert versions["numpy"] == "1.26.4" and versions["torch"] == "2.13.0"


def test_the_lowest_versions_are_the_lower_bounds():
    pytest.importorskip("tomllib", reason="read with Python 3.11 or later")
    from lowest import lowest

    rows = [Requirement(line) for line in lowest(["core", *EXTRAS])]
    found = {(canonicalize_name(row.name), str(row.marker)): row.specifier for row in rows}
    assert len(found) == len(rows), "each package once"

    for requirement in requirements():
        (pinned,) = found[canonicalize_name(requirement.name), str(requirement.marker)]
        assert requirement.specifier.contains(pinned.version), requirement
    assert "gymnasium==1.4" in lowest(["core"]), "earlier ones miscount the lengths of episodes"
    assert "numpy==1.26" in lowest(["core"]) and "numpy==2" in lowest(["core", "data"])
    with pytest.raises(KeyError, match="nothing"):
        lowest(["nothing"])


def test_no_package_host_is_named():
    locks = ("constraints.txt", "constraints-omnigibson.txt")
    for name in ("pyproject.toml", *locks, "Makefile", ".ci/run"):
        text = (ROOT / name).read_text()
        assert not re.search(r"https?://|index-url|find-links", text), name


def test_citation_and_package_agree_on_the_version():
    text = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {PROJECT['version']}\n" in text


@NEEDS_MAKE
@pytest.mark.parametrize("target", ["demo", "test", "check", "format", "bench", "bench-peers"])
def test_make_target_makes_its_environment_first(target, tmp_path):
    plan = make("-n", target, f"VENV={tmp_path / 'venv'}", f"PEERS={tmp_path / 'peers'}",
                f"PYTHON={interpreter(tmp_path, '3.11')}").stdout  # fmt: skip
    assert f"-m venv {tmp_path / 'venv'}" in plan
    assert plan.index("pip install") < len(plan.rstrip()) - len(plan.rstrip().splitlines()[-1])
    assert (f"-m venv {tmp_path / 'peers'}" in plan) == (target == "bench-peers")


def make(*words: str, path: Path | None = None) -> subprocess.CompletedProcess:
    """Call make, with a search path and a home of the caller's choice, free of a make above."""
    kept = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "PYTHON")}
    if path is not None:
        kept |= {"PATH": str(path), "HOME": str(path)}
    command = [str(shutil.which("make")), *words]
    return subprocess.run(command, cwd=ROOT, env=kept, capture_output=True, text=True)


def interpreter(folder: Path, version: str, name: str = "python") -> Path:
    """Write what passes for a Python of some version: it runs programs and says that version."""
    path = folder / name
    major, minor = version.split(".")
    path.write_text(
        f"""#!{sys.executable}
import sys
sys.version_info = ({major}, {minor}, 5, "final", 0)
if sys.argv[1] == "-c":
    exec(sys.argv[2])
else:
    print("Python {version}.5")
"""
    )
    path.chmod(0o755)
    return path


@NEEDS_MAKE
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_make_takes_the_python_that_is_there(version, tmp_path):
    interpreter(tmp_path, "3.10", "python3")
    lost = tmp_path / "python3.11"  # a shim that leads nowhere
    lost.write_text("#!/bin/sh\nexit 127\n")
    lost.chmod(0o755)
    interpreter(tmp_path, version, f"python{version}")
    plan = make("-n", "check", f"VENV={tmp_path / 'venv'}", path=tmp_path).stdout
    assert f"\npython{version} -m venv {tmp_path / 'venv'}\n" in plan

    interpreter(tmp_path, "3.13", "python3")  # comes first where the lock serves it
    plan = make("-n", "check", f"VENV={tmp_path / 'venv'}", path=tmp_path).stdout
    assert f"\npython3 -m venv {tmp_path / 'venv'}\n" in plan


@NEEDS_MAKE
def test_make_says_in_one_line_that_there_is_no_python_for_it(tmp_path):
    place = f"VENV={tmp_path / 'venv'}"
    refused = make("-n", "demo", place, path=tmp_path)
    assert refused.returncode == 2
    (line,) = refused.stderr.strip().splitlines()
    assert "found no Python 3.11/3.12/3.13: give one with PYTHON=/path/to/python" in line

    old = interpreter(tmp_path, "3.10", "old")
    for asked in (old, tmp_path / "nowhere"):
        refused = make("-n", "demo", place, f"PYTHON={asked}", path=tmp_path)
        assert f"{asked} is not Python 3.11/3.12/3.13: give one" in refused.stderr


@NEEDS_MAKE
def test_make_tries_each_python_that_it_finds(tmp_path):
    for version in ("3.10", "3.12", "3.14"):
        interpreter(tmp_path, version, f"python{version}")
    (tmp_path / "make").symlink_to(str(shutil.which("make")))
    told = make("-nB", "test-pythons", f"VENV={tmp_path / 'venv'}", path=tmp_path)
    for version, extras in (("3.10", "dev"), ("3.12", "train,data,report,dev")):
        assert f"python{version} -m venv .venv-py{version}" in told.stdout
        assert (
            f'.venv-py{version}/bin/python -m pip install --quiet -e ".[{extras}]"' in told.stdout
        )
    for version in ("3.11", "3.13"):
        assert f'echo "no Python {version} here: not tried"' in told.stdout
    assert 'echo "Python 3.14 is here: not supported"' in told.stdout


def test_import_needs_no_torch():
    program = "import sys, dexfw_envs, dexfw_envs.episodes.store; assert 'torch' not in sys.modules"
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
