"""The static site: every page has its way in, and links out of the pages are mended."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "site_hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_is_in_the_navigation_once(hooks):
    listed = [
        page for section in hooks.navigation() for pages in section.values() for page in pages
    ]
    assert sorted(listed) == sorted({*hooks.pages(), *hooks.reference_pages()})
    assert listed[0] == "index.md"


def test_the_reference_has_a_page_for_every_room(hooks):
    rooms = {path.parent.name for path in (ROOT / "dexfw_envs").glob("*/__init__.py")}
    pages = hooks.reference_pages()
    assert set(pages) == {f"reference/{name}.md" for name in (*rooms, "package")}
    assert "::: dexfw_envs.envs.vector\n" in pages["reference/envs.md"]
    assert "__main__" not in "".join(pages.values())


@pytest.mark.parametrize(
    ("page", "before", "after"),
    [
        ("tasks/lift.md", "[page](../concepts.md#turn)", "[page](../concepts.md#turn)"),
        ("install.md", "[front](../README.md)", "[front](index.md)"),
        ("install.md", "![p](images/a.png)", "![p](images/a.png)"),
        ("data.md", "[x](https://example.org/a.md)", "[x](https://example.org/a.md)"),
        ("data.md", "[below](#formats)", "[below](#formats)"),
        ("data.md", "[`a.py`](../baselines/a.py)", "`baselines/a.py`"),
        ("data.md", "[the results](../results)", "the results (`results`)"),
        ("index.md", "[task](../docs/tasks/lift.md)", "[task](tasks/lift.md)"),
    ],
)
def test_links_that_leave_the_pages_become_paths(hooks, page, before, after):
    assert hooks.site_links(before, page) == after


def test_the_front_page_is_the_readme(hooks):
    text = hooks.site_links(hooks.front_page(), hooks.FRONT)
    targets = re.findall(r"\]\(([^)#\s]+)", text)
    local = [target for target in targets if "://" not in target]
    assert local
    for target in local:
        assert (ROOT / "docs" / target).exists(), target


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.skipif(sys.version_info < (3, 11), reason="make docs needs Python 3.11 or later")
def test_the_target_makes_its_environment_and_stops_at_broken_links():
    words = ["make", "-nB", "docs", f"PYTHON={sys.executable}"]
    plan = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "-m venv .venv-docs" in plan
    assert plan.index("pip install") < plan.index("-m mkdocs build")
    assert "mkdocs-material==" in plan
    assert "\nstrict: true\n" in (ROOT / "mkdocs.yml").read_text()
