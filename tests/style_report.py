"""How dense the code is, file by file: tokens per line of code and the longest functions.

    make style
    python tests/style_report.py baselines/dexflywheel.py

It informs, nothing fails by it. Two codebases that are read with ease are the measure.
"""

from __future__ import annotations

import argparse
import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
PARTS = ("baselines", "dexfw_envs", "benchmark")
MODELS = {"CleanRL": 8.2, "mink": 6.9}  # tokens per code line
SHOWN = 15  # files listed of a whole folder, the densest first
LONG = 40  # lines; a function beyond it is named
LAYOUT = {  # tokens that are no words of the code
    tokenize.ENCODING,
    tokenize.COMMENT,
    tokenize.NEWLINE,
    tokenize.NL,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Density:
    """What was counted in a text, or in several."""

    tokens: int  # without comments, docstrings and layout
    lines: int  # that carry one of these tokens

    def __add__(self, other: Density) -> Density:
        return Density(self.tokens + other.tokens, self.lines + other.lines)

    @property
    def ratio(self) -> float:
        """Tokens per code line."""
        return self.tokens / max(1, self.lines)


def density(source: str) -> Density:
    """Count the tokens of a Python text and the lines that carry them."""
    documented = _docstring_lines(ast.parse(source))
    count = 0
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in LAYOUT or token.start[0] in documented:
            continue
        count += 1
        lines.add(token.start[0])
    return Density(count, len(lines))


def _docstring_lines(tree: ast.Module) -> set[int]:
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            found.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return found


def function_lengths(source: str) -> list[tuple[int, str]]:
    """Return the lines and the dotted name of every function, the longest first."""
    return sorted(_functions(ast.parse(source), ""), reverse=True)


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[int, str]]:
    for child in ast.iter_child_nodes(node):
        name = getattr(child, "name", "")
        inside = f"{prefix}{name}." if isinstance(child, (*FUNCTIONS, ast.ClassDef)) else prefix
        if isinstance(child, FUNCTIONS):
            yield (child.end_lineno or child.lineno) - child.lineno + 1, prefix + name
        yield from _functions(child, inside)


def files_of(path: Path) -> list[Path]:
    """Return the Python files of a folder, or the file itself."""
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def report(path: Path, console: Console, everything: bool) -> None:
    """Print the table of a file or folder."""
    texts = {file: file.read_text(encoding="utf-8") for file in files_of(path)}
    counts = {file: density(text) for file, text in texts.items()}
    total = sum(counts.values(), Density(0, 0))
    models = ", ".join(f"{name} {value}" for name, value in MODELS.items())
    head = f"{path.name}: {total.ratio:.1f} tokens per code line; {models}"
    console.print(head, highlight=False)
    table = Table("file", "tokens/line", "lines", "longest function")

    densest = sorted(counts, key=lambda file: counts[file].ratio, reverse=True)
    for file in densest if everything else densest[:SHOWN]:
        lengths = function_lengths(texts[file])
        length, name = lengths[0] if lengths else (0, "")
        where = str(file.relative_to(path) if path.is_dir() else file)
        table.add_row(where, f"{counts[file].ratio:.1f}", str(counts[file].lines),
                      f"{length} {name}")  # fmt: skip
    console.print(table)

    long = [(n, f"{file.name}: {name}") for file, text in texts.items()
            for n, name in function_lengths(text) if n > LONG]  # fmt: skip
    for length, name in sorted(long, reverse=True):
        console.print(f"  {length} lines, beyond {LONG}: {name}", highlight=False)


def main() -> int:
    """Print the report of what is named, or of all parts of the project."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("paths", nargs="*", type=Path, help="files or folders; all parts if none")
    parser.add_argument("--all", action="store_true", help="list every file of a folder")
    args = parser.parse_args()
    for path in args.paths or [ROOT / part for part in PARTS]:
        report(path, Console(), args.all)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
