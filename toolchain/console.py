"""Messages to the user, on standard error, so that `bin` prints only its answer: one line per step, and on a terminal one that moves."""

import os
import sys

LOG_SECONDS = 30
"""How often a long step reports where the output is kept, such as in a log of CI."""
TERMINAL_SECONDS = 1


class ToolchainError(Exception):
    """The installation cannot continue; the text says in one line what to install or do."""


class OfflineError(ToolchainError):
    """The installation cannot continue, because a registry cannot be reached."""


def say(text: str) -> None:
    """Prints a message to the user. On a terminal it takes the place of the moving line."""
    print(f"{_clear()}toolchain: {text}", file=sys.stderr, flush=True)


def report(text: str) -> None:
    """Shows the state of a long step: on a terminal as one line that is replaced by the next, elsewhere as a line of its own."""
    if not sys.stderr.isatty():
        say(text)
        return
    print(_CLEAR + f"toolchain: {text}"[: _columns() - 1], end="", file=sys.stderr, flush=True)


def report_seconds() -> float:
    """Returns how often a long step reports its state, in seconds."""
    return TERMINAL_SECONDS if sys.stderr.isatty() else LOG_SECONDS


_CLEAR = "\r\033[K"  # to the start of the line, which is then erased


def _columns() -> int:
    return os.get_terminal_size(sys.stderr.fileno()).columns or 80


def _clear() -> str:
    return _CLEAR if sys.stderr.isatty() else ""


def megabytes(size_bytes: int) -> str:
    """Returns a size in MB (10^6 bytes), or in GB if it is that large."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"


def duration(seconds: float) -> str:
    """Returns a time in seconds, or in minutes from two minutes on."""
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
