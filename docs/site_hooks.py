"""What the static site needs beside the pages: a front page, a reference, a way through them.

mkdocs calls the functions `on_...`; `mkdocs.yml` names this file.
"""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "dexfw_envs"
FRONT = "index.md"  # the README
REFERENCE = "reference"
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")

# Sections of the navigation; "*" stands for all other pages of the folder, by name.
SECTIONS: dict[str, tuple[str, ...]] = {
    "Start": (FRONT, "install.md", "environments.md", "recipes.md", "concepts.md"),
    "Tutorials": ("tutorials/*",),
    "Tasks": ("tasks/*", "catalogue.md"),
    "Methods": ("dexflywheel.md", "dexpie.md", "claims.md", "dexpie-trials.md"),
    "Data and results": ("data.md", "harness.md"),
    "Inside": ("architecture.md", "design-notes.md", "robustness.md", "omnigibson.md", "*"),
    "Reference": (f"{REFERENCE}/*",),
}


def pages() -> list[str]:
    """Return all pages that are written by hand, relative to `docs/`, the front page first."""
    return [FRONT, *sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))]


def reference_pages() -> dict[str, str]:
    """Return the pages of the reference: name and Markdown, one for each room of the package."""
    rooms = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))
    made = {f"{REFERENCE}/package.md": _reference("dexfw_envs", [*PACKAGE.glob("*.py")])}
    for room in rooms:
        made[f"{REFERENCE}/{room.name}.md"] = _reference(room.name, [*room.rglob("*.py")])
    return made


def _reference(title: str, files: list[Path]) -> str:
    modules = [_module(path) for path in sorted(files) if _has_content(path)]
    return "\n\n".join([f"# {title}", *(f"::: {name}" for name in modules)]) + "\n"


def _module(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def _has_content(path: Path) -> bool:
    """Whether a module says something of itself and is no command."""
    if path.name == "__main__.py":
        return False
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) is not None


def navigation() -> list[dict[str, list[str]]]:
    """Return the sections with their pages."""
    known = [*pages(), *reference_pages()]
    named = {name for names in SECTIONS.values() for name in names}
    sections: list[dict[str, list[str]]] = []
    for title, names in SECTIONS.items():
        listed: list[str] = []
        for name in names:
            listed += _others(name, known, named) if name.endswith("*") else [name]
        if listed:
            sections.append({title: listed})
    return sections


def _others(pattern: str, known: list[str], named: set[str]) -> list[str]:
    """Return the pages of a folder that no section names."""
    folder = posixpath.dirname(pattern)
    return [page for page in known if posixpath.dirname(page) == folder and page not in named]


def site_links(text: str, page: str) -> str:
    """Turn links to files outside of `docs/` into their paths, as the site does not hold them.

    Args:
        text: Markdown of a page.
        page: The page, relative to `docs/`; links are relative to it.
    """
    folder = posixpath.dirname(page)

    def replaced(match: re.Match[str]) -> str:
        picture, words, target = match.groups()
        path, _, anchor = target.partition("#")
        if "://" in target or not path:
            return match.group(0)

        place = posixpath.normpath(posixpath.join("docs", folder, path))
        if place == "README.md":
            place = f"docs/{FRONT}"
        if place.startswith("docs/") and not place.endswith(".py"):
            local = posixpath.relpath(place.removeprefix("docs/"), folder or ".")
            return f"{picture}[{words}]({local}{'#' + anchor if anchor else ''})"
        shown = words.strip("`")
        return f"`{place}`" if shown in place else f"{words} (`{place}`)"

    return LINK.sub(replaced, text)


def front_page() -> str:
    """Return the README as a page of the site: its links start at the root of the repository."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return LINK.sub(_from_docs, text)


def _from_docs(match: re.Match[str]) -> str:
    picture, words, target = match.groups()
    if "://" in target or target.startswith("#"):
        return match.group(0)
    return f"{picture}[{words}](../{target})"


# --- what mkdocs calls


def on_config(config: Any) -> Any:
    """Set the navigation."""
    config.nav = navigation()
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the front page and the reference."""
    from mkdocs.structure.files import File

    made = {FRONT: front_page(), **reference_pages()}
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Mend the links of a page."""
    return site_links(markdown, page.file.src_uri)
