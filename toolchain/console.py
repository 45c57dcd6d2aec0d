"""What a person sees: one line a step, on standard error so that `bin` prints nothing but its answer."""

import sys


class ToolchainError(Exception):
    """Something that cannot go on; its text says in one line what to install or do."""


def say(text: str) -> None:
    print(f"toolchain: {text}", file=sys.stderr, flush=True)


def megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"
