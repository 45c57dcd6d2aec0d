"""Messages to the user: one line per step, on standard error, so that `bin` prints only its answer."""

import sys


class ToolchainError(Exception):
    """The installation cannot continue; the text says in one line what to install or do."""


class OfflineError(ToolchainError):
    """The installation cannot continue, because a registry cannot be reached."""


def say(text: str) -> None:
    """Prints a message to the user."""
    print(f"toolchain: {text}", file=sys.stderr, flush=True)


def megabytes(size_bytes: int) -> str:
    """Returns a size in MB (10^6 bytes), or in GB if it is that large."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"
