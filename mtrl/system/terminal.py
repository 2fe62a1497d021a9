"""Text for terminals. Names come from users and from runs of others, so all text is printed as it is: no markup, no
emoji codes, and characters that would steer the terminal as escapes."""

from __future__ import annotations

import codecs
import io
import os
import select
import shlex
import sys
from typing import Any

import rich.console
from rich.table import Column, Table
from rich.text import Text


def console(*, stderr: bool = False) -> rich.console.Console:
    """Prints tables and text; lines of any length where the output is no terminal."""
    printer = _Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not printer.is_terminal and "COLUMNS" not in os.environ:
        printer.width = 10_000
    return printer


def print_any_text() -> None:
    """From now on, what stdout and stderr have no characters for (in ASCII, say) is printed as escapes.

    Where one of them is closed, what is printed goes nowhere.
    """
    codecs.register_error("mtrl", _as_ascii)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # as a daemon's may be; another file would get its number
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="mtrl")


def _as_ascii(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    if error.object[error.start] == "±":
        return "+-", error.start + 1
    return codecs.backslashreplace_errors(error)


def is_read() -> bool:
    """Whether stdout is no pipe whose reader is gone, as that of `| head` is soon."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return not any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def finish_output() -> None:
    """Writes out what stdout still holds, and what nobody reads to nowhere."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def table(*columns: str, title: str | None = None) -> Table:
    """A table that folds what a narrow terminal has no room for, and cuts nothing off."""
    return Table(*(Column(name, overflow="fold") for name in columns), title=title)


def message(text: str) -> None:
    """Prints a sentence on stderr."""
    print(printable(text), file=sys.stderr, flush=True)


def command(*words: object) -> str:
    """A command of `mtrl` as a shell takes it."""
    return shlex.join(["mtrl", *map(str, words)])


def one_line(text: str) -> str:
    """Lines joined by spaces."""
    return " ".join(line for line in map(str.strip, text.split("\n")) if line)


def shorten(value: object) -> str:
    """A value as Python writes it, or how that begins."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def printable(text: str) -> str:
    """Control characters, those of lines, tabs and the direction of writing too, and what stands for bytes that are no
    text, as escapes."""
    return "".join(repr(c)[1:-1] if _steers(c) else c for c in text)


def _steers(character: str) -> bool:
    code = ord(character)
    directs = 0x2028 <= code <= 0x202E or 0x2066 <= code <= 0x2069
    return code < 32 or 127 <= code < 160 or directs or 0xD800 <= code < 0xE000


class _Console(rich.console.Console):
    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)
