"""Says in one line why a command failed, where the reason is one that a person can mend: no network, or no space."""

import re
import shutil
from pathlib import Path

from toolchain.console import OfflineError, ToolchainError, megabytes

# What pip, uv, Go and Python's own client say when a host cannot be reached.
UNREACHABLE = re.compile(
    r"dial tcp|no such host|i/o timeout|connection refused|TLS handshake timeout|network is unreachable|name resolution|dns error"
    r"|name or service not known|tcp connect error|NewConnectionError|ConnectTimeoutError|ReadTimeoutError|operation timed out"
    r"|connection reset",
    re.IGNORECASE,
)
FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
ALMOST_FULL_BYTES = 10e6


def failure(purpose: str, output: str, folder: Path, where: str = "") -> ToolchainError:
    """Returns the error for a failed command with this output, which wrote to `folder`. `where` says where more of the output is."""
    free = shutil.disk_usage(next(parent for parent in (folder, *folder.parents) if parent.exists())).free
    if FULL.search(output) or free < ALMOST_FULL_BYTES:
        return ToolchainError(f"{purpose} failed: {no_space(folder)}")
    if UNREACHABLE.search(output):
        return OfflineError(f"{purpose} failed, because a registry cannot be reached")
    tail = output.strip().splitlines()[-15:]
    if len(tail) == 1 and not where:
        return ToolchainError(f"{purpose} failed: {tail[0]}")
    return ToolchainError("\n".join([f"{purpose} failed; {where or 'the output'} ends with:", *tail]))


def no_space(folder: Path) -> str:
    """Returns what to do about a full disk."""
    return (
        f"the disk of {folder} is full: all programs take up to {megabytes(17_000_000_000)} while they are built and a tenth of that "
        "afterwards, so make room, or name a folder on another disk in ZIG_AI_CACHE"
    )
