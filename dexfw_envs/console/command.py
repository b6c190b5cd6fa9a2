"""What every command does at its edges: how it ends, and what it says when it fails.

A script and a `python -m` command end with one of these exit codes:

    0    all went well
    1    something failed that the call is not to blame for: a full disk, a missing package, a bug
    2    the call was wrong: an unknown option, a file that is not there, a value out of range
    130  it was interrupted by Ctrl-C

What is not a bug is told in one line on stderr. `--debug` shows the traceback as well. A bug, which
is an error that no `raise` of this project made, always shows its traceback.

    if __name__ == "__main__":
        sys.exit(run_command(Args, main, __doc__))

This module imports neither a simulator nor torch.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, TypeVar

import tyro

from dexfw_envs.console.extras import missing_package

FAILED = 1
WRONG_USE = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it

DEBUG = "--debug"
DEBUG_HELP = f"{DEBUG} shows the traceback of an error."

PACKAGE = Path(__file__).parents[1]
OURS = tuple(PACKAGE.parent / name for name in (PACKAGE.name, "baselines", "benchmark", "docs"))

#: Errors that a call with other words would not have had.
MISUSE = (ValueError, FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError)
#: Errors that are told in one line wherever they come from.
TOLD = (OSError, ImportError, KeyboardInterrupt)
#: Errors that are told in one line if a `raise` of this project made them.
RAISED = (ValueError, RuntimeError, FloatingPointError)

CONSOLE_SCRIPT = "dexfw"  # as pyproject.toml names it
_CALLED: list[str] = []  # names by which commands called commands, the innermost last

Settings = TypeVar("Settings")


def run_command(
    settings: type[Settings],
    main: Callable[[Settings], int | None],
    description: str | None = None,
    argv: Sequence[str] | None = None,
) -> int:
    """Read a command line into a dataclass, do the work and return the exit code.

    Args:
        settings: The dataclass of the options.
        main: Takes them; returns an exit code, or None for 0.
        description: Text for `--help`, by default the dataclass's docstring.
        argv: The words of the command line; this process's by default.

    Raises:
        SystemExit: `--help` was asked for, or an option is wrong.
    """

    def work(words: list[str]) -> int | None:
        text = description or settings.__doc__ or ""
        return main(tyro.cli(settings, args=words, prog=program(), description=help_text(text)))

    return run_main(work, argv)


def program() -> str | None:
    """Name of the command as it was called; None for a script, which is called by its file."""
    if _CALLED:
        return _CALLED[-1]
    if Path(sys.argv[0]).stem == CONSOLE_SCRIPT:
        return CONSOLE_SCRIPT
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None:
        return None
    return "python -m " + spec.name.removesuffix(".__main__")


@contextmanager
def called(name: str, words: Sequence[str]) -> Iterator[None]:
    """Make what runs inside believe that it was called by this name with these words."""
    before = sys.argv
    sys.argv = [name, *words]
    _CALLED.append(name)
    try:
        yield
    finally:
        _CALLED.pop()
        sys.argv = before


def exit_code_of(work: Callable[[], Any]) -> int:
    """Do work that may end the process, and return the exit code instead."""
    try:
        work()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return FAILED
        return end.code or 0
    return 0


def run_main(
    work: Callable[[list[str]], int | None],
    argv: Sequence[str] | None = None,
) -> int:
    """Do the work of a command and return the exit code, whatever ends it.

    Args:
        work: Takes the words of the command line; returns an exit code, or None for 0.
        argv: These words; this process's by default. `--debug` is taken out of them.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = DEBUG in words
    try:
        return work(without_debug(words)) or 0
    except (Exception, KeyboardInterrupt) as error:
        return tell(error, debug)


def tell_errors() -> None:
    """Let this process tell every error that ends it as `tell` does, from here on.

    For scripts, whose imports may fail or be interrupted as well.
    """
    sys.excepthook = _tell_and_exit


def _tell_and_exit(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> NoReturn:
    raise SystemExit(tell(error, DEBUG in sys.argv))


def help_text(description: str) -> str:
    """Return the text of `--help` with what all commands have in common."""
    return f"{description.rstrip()}\n\n{DEBUG_HELP}"


def without_debug(words: Sequence[str]) -> list[str]:
    """Return the words of a command line without `--debug`, which is no setting."""
    return [word for word in words if word != DEBUG]


def tell(error: BaseException, debug: bool = False) -> int:
    """Print what ended a command on stderr and return the exit code.

    Args:
        error: What was raised.
        debug: Print the traceback, too.
    """
    if isinstance(error, BrokenPipeError):  # whoever read the output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED

    expected = is_expected(error)
    if debug or not expected:
        traceback.print_exception(type(error), error, error.__traceback__)
    if expected:
        print(one_line(error), file=sys.stderr, flush=True)
    return exit_code(error)


def exit_code(error: BaseException) -> int:
    """Return the exit code of a command that an error ended."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, MISUSE) and is_expected(error):
        return WRONG_USE
    return FAILED


def is_expected(error: BaseException) -> bool:
    """Whether an error tells of the call or the machine, and not of a bug."""
    if isinstance(error, TOLD):
        return True
    return isinstance(error, RAISED) and _raised_here(error)


def _raised_here(error: BaseException) -> bool:
    """Whether a `raise` of this project made an error."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return False
    last = frames[-1]
    ours = any(Path(last.filename).resolve().is_relative_to(folder) for folder in OURS)
    return ours and (last.line or "").startswith("raise ")


def one_line(error: BaseException) -> str:
    """Return the one line that tells of an error."""
    if isinstance(error, KeyboardInterrupt):
        return f"interrupted; {error}" if str(error) else "interrupted"
    return f"error: {' '.join(_words(error).split())}"


def _words(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and str(error).startswith("No module named"):
        return missing_package(error.name or "") or str(error)
    if isinstance(error, OSError) and error.strerror:
        named = "" if error.filename is None else f"{os.fspath(error.filename)}: "
        return f"{named}{error.strerror}"
    return str(error)
