"""How far a long work has come, told on stderr.

On a terminal that is a bar; in a notebook a bar of plain text, which needs no widgets; anywhere
else, such as in a log file, a line every 30 s, so that nothing runs for minutes without a word:

    base 1: 1250 of 5000 (25 %), 41.7 per s, 90 s left

    with progress("base 1", 5000) as report:
        for step in range(5000):
            ...
            report(step + 1)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TextIO, TypeVar

from rich.console import Console

EVERY = 30.0  # between two lines [s]
NOTEBOOK_EVERY = 0.5  # between two states of a notebook's bar [s]
BAR_WIDTH = 30  # of that bar [characters]

Item = TypeVar("Item")


class Report(Protocol):
    """What `progress` gives: called with how much is done, as often as one likes."""

    def __call__(self, done: int, note: str = "", share: float | None = None) -> None:
        """Tell how much is done.

        Args:
            done: How much, of the same kind as `total`.
            note: More to tell, such as "87 won".
            share: Of the whole work, in [0, 1]; where there is no `total`.
        """


@contextmanager
def progress(title: str, total: int | None = None, start: int = 0) -> Iterator[Report]:
    """Tell on stderr how far a work has come.

    Args:
        title: What is done.
        total: How much there is to do, if that is known.
        start: How much was done before, by a run that is gone on with.
    """
    console = Console(stderr=True)
    if console.is_jupyter:
        with _notebook_bar(title, total, start) as report:
            yield report
    elif console.is_terminal:
        with _terminal_bar(console, title, total, start) as report:
            yield report
    else:
        yield Lines(title, total, start)


def counted(items: Sequence[Item], title: str) -> Iterator[Item]:
    """Yield items and tell how many have been dealt with."""
    with progress(title, len(items)) as report:
        for number, item in enumerate(items, start=1):
            yield item
            report(number)


def say(text: str) -> None:
    """Write a line to stderr, unless that is a terminal, where bars tell enough."""
    if not Console(stderr=True).is_terminal:
        print(text, file=sys.stderr, flush=True)


@contextmanager
def _terminal_bar(console: Console, title: str, total: int | None, start: int) -> Iterator[Report]:
    from rich.progress import Progress

    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(title, total=total, completed=start)

        def report(done: int, note: str = "", share: float | None = None) -> None:
            text = f"{title}  {note}" if note else title
            if total is None and share is not None:
                bar.update(task, completed=share, total=1.0, description=text)
            else:
                bar.update(task, completed=done, description=text)

        yield report


@contextmanager
def _notebook_bar(title: str, total: int | None, start: int) -> Iterator[Report]:
    bar = NotebookBar(title, total, start)
    try:
        yield bar
    finally:
        bar.close()


class Lines:
    """A line of text now and then.

    Args:
        title: What is done.
        total: How much there is to do, if that is known.
        start: How much was done before.
        stream: Where the lines go; stderr by default.
        clock: Tells the time [s].
        every: Least time between two lines [s]; `EVERY` by default.
    """

    def __init__(
        self,
        title: str,
        total: int | None = None,
        start: int = 0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        every: float | None = None,
    ) -> None:
        self.title = title
        self.total = total
        self.start = start
        self.every = EVERY if every is None else every
        self._stream = stream
        self._clock = clock
        self._began = clock()
        self._told = self._began
        self._first_share = 0.0  # of the work, when it began here
        if total:
            self._first_share = start / total

    def __call__(self, done: int, note: str = "", share: float | None = None) -> None:
        """Write a line if the last one is long enough ago."""
        now = self._clock()
        if now - self._told < self.every:
            return
        self._told = now
        print(self.line(done, note, share), file=self._stream or sys.stderr, flush=True)

    def line(self, done: int, note: str = "", share: float | None = None) -> str:
        """Return what is to be told now."""
        seconds = max(self._clock() - self._began, 1e-9)
        if self.total:
            share = done / self.total

        parts = [amount(done, self.total, share), rate((done - self.start) / seconds)]
        if share is not None and share > self._first_share:
            left = seconds * (1.0 - share) / (share - self._first_share)
            parts.append(f"{duration(left)} left")
        if note:
            parts.append(note)
        return f"{self.title}: {', '.join(parts)}"


class NotebookBar(Lines):
    """A bar of plain text in one line, which is written again and again."""

    def __init__(self, title: str, total: int | None = None, start: int = 0, **options: Any):
        super().__init__(title, total, start, **{"every": NOTEBOOK_EVERY, **options})
        self._width = 0

    def __call__(self, done: int, note: str = "", share: float | None = None) -> None:
        """Write the bar anew if that was long enough ago, or if all is done."""
        now = self._clock()
        if now - self._told < self.every and done != self.total:
            return
        self._told = now
        if self.total:
            share = done / self.total
        filled = round(BAR_WIDTH * (share or 0.0))
        bar = "█" * filled + "░" * (BAR_WIDTH - filled)
        self._write(f"{bar} {self.line(done, note, share)}")

    def _write(self, text: str) -> None:
        self._width = max(self._width, len(text))  # what was longer is written over
        stream = self._stream or sys.stderr
        print(f"\r{text:<{self._width}}", end="", file=stream, flush=True)

    def close(self) -> None:
        """End the line."""
        if self._width:
            print(file=self._stream or sys.stderr, flush=True)


def amount(done: int, total: int | None, share: float | None) -> str:
    """Return how much is done in words, such as "1250 of 5000 (25 %)"."""
    text = f"{done} done" if total is None else f"{done} of {total}"
    return text if share is None else f"{text} ({100 * share:.0f} %)"


def rate(per_second: float) -> str:
    """Return a rate in words, such as "41.7 per s" or, below one in a second, "3.2 s each"."""
    if per_second >= 1.0:
        return f"{per_second:.1f} per s"
    if per_second > 0.0:
        return f"{duration(1.0 / per_second)} each"
    return "none yet"


def duration(seconds: float) -> str:
    """Return a time in words, such as "4.2 s", "56 s", "12 min" or "1.5 h"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
