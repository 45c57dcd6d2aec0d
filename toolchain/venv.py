"""The virtual environment: it has exactly requirements.lock and lies in the cache, and `.venv` in the repository links to it."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from toolchain.cache import Cache, point, size_bytes
from toolchain.console import ToolchainError, megabytes, say
from toolchain.failures import failure

REPOSITORY = Path(__file__).resolve().parents[1]
BOOTSTRAP = Path(__file__).resolve().parent / "bootstrap"

# The oldest uv that is known to install with --require-hashes and to keep a seeded pip.
MIN_UV = (0, 5)


def ensure_venv(cache: Cache, repository: Path = REPOSITORY) -> Path:
    """Returns the environment's folder, and creates it first if its lock file or the Python changed. Raises ToolchainError."""
    lock = repository / "requirements.lock"
    folder = venv_folder(cache, repository)
    if not _stamp(folder).exists():
        with cache.lock(folder.name):
            if not _stamp(folder).exists():
                _make(cache, folder, lock)
    _point_from(repository / ".venv", folder)
    return folder


def venv_folder(cache: Cache, repository: Path = REPOSITORY) -> Path:
    """Returns the environment's folder, whether or not it exists."""
    return cache.root / f"venv-{_key(repository / 'requirements.lock')}"


def python_packages_bytes(folder: Path) -> int:
    """Returns the size of an environment in bytes."""
    return json.loads(_stamp(folder).read_text())["size_bytes"]


def locked_version(package: str, lock: Path = REPOSITORY / "requirements.lock") -> str:
    """Returns the version of a Python package in the lock file, such as `4.34.2`."""
    found = re.search(rf"^{re.escape(package)}==(\S+)", lock.read_text(), re.MULTILINE)
    assert found, f"{lock} does not name {package}"
    return found[1]


def _key(lock: Path) -> str:
    # An environment depends on the Python that created it; another one of the same version may be removed.
    python = f"{sys.version_info[:3]} {sys.base_prefix}"
    return hashlib.sha256(lock.read_bytes() + python.encode()).hexdigest()[:12]


def _stamp(folder: Path) -> Path:
    return folder / "complete.json"


def _make(cache: Cache, folder: Path, lock: Path) -> None:
    say("virtual environment: installing requirements.lock (5 s to a minute)")
    started = time.monotonic()
    uv = find_uv(cache)
    # Scripts contain the environment's path, so it is created in place; the stamp says that it is complete.
    shutil.rmtree(folder, ignore_errors=True)
    base_python = getattr(sys, "_base_executable", sys.executable)
    # --seed installs pip, with which the language host lists packages.
    create = [uv, "venv", "--quiet", "--seed", "--python", base_python, str(folder)]
    install = [uv, "pip", "sync", "--quiet", "--require-hashes", "--python", str(folder / "bin" / "python"), str(lock)]
    try:
        _run(create, "creating the virtual environment", folder)
        _run(install, "installing requirements.lock", folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # it may have filled the disk
        raise
    size = size_bytes(folder)
    _stamp(folder).write_text(json.dumps({"size_bytes": size}))
    say(f"virtual environment: done in {time.monotonic() - started:.0f} s, {megabytes(size)}")


def _point_from(link: Path, folder: Path) -> None:
    if link.exists() and not link.is_symlink():
        raise ToolchainError(f"{link} is a folder and not the link that belongs here; move it away and run this again")
    point(link, folder)


def find_uv(cache: Cache) -> str:
    """Returns uv from PATH, or else the pinned one, installed with pip into its own environment."""
    installed = shutil.which("uv")
    if installed and _uv_version(installed) >= MIN_UV:
        return installed
    pins = BOOTSTRAP / "uv.txt"
    home = cache.root / f"uv-{hashlib.sha256(pins.read_bytes()).hexdigest()[:12]}"
    uv = home / "bin" / "uv"
    with cache.lock("uv"):
        if not _stamp(home).exists():
            create = [sys.executable, "-m", "venv", "--clear", str(home)]
            install = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            install += ["--only-binary=:all:", "--require-hashes", "-r", str(pins)]
            try:
                _run(create, "creating an environment for uv (with Python's venv module; Debian: apt install python3-venv)", home)
                _run(install, "installing uv", home)
            except BaseException:
                shutil.rmtree(home, ignore_errors=True)
                raise
            _stamp(home).write_text("{}")
    return str(uv)


def write_lock(cache: Cache, *, upgrade: bool) -> None:
    """Resolves requirements.txt for every system and for Python 3.11 and newer, without index addresses in the lock file."""
    command = [find_uv(cache), "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"]
    command += ["--no-emit-index-url", "--no-emit-find-links", "--custom-compile-command", "make lock"]
    # The paths are relative to the repository, because comments in the lock file name its source.
    command += ["requirements.txt", "--output-file", "requirements.lock", *(["--upgrade"] if upgrade else [])]
    _run(command, "resolving requirements.txt", cache.root, folder=REPOSITORY)


def _uv_version(uv: str) -> tuple[int, ...]:
    answer = subprocess.run([uv, "--version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"(\d+)\.(\d+)", answer)
    return tuple(map(int, match.groups())) if match else (0,)


def _run(command: list[str], purpose: str, target: Path, folder: Path | None = None) -> None:
    # VIRTUAL_ENV of the caller must not become the target.
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise failure(purpose, result.stdout + result.stderr, target)
