"""Installs programs and data from Python packages: each package by hash into its own folder, from which files are copied."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from toolchain.cache import Cache, copy_out, remove
from toolchain.console import ToolchainError
from toolchain.failures import failure
from toolchain.recipes import PackageRecipe, PythonRecipe
from toolchain.running import end_of, run_logged
from toolchain.venv import find_uv

# Variables of the caller that would change what is built, or in which environment.
NOT_INHERITED = ("CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "MAKEFLAGS", "MFLAGS", "CMAKE_GENERATOR", "LLAMA_CPP_DIR", "VIRTUAL_ENV")

NO_COMPILER = (
    "building {name} needs a C++ compiler and make, which are not on PATH: "
    "apt install build-essential (Debian, Ubuntu), xcode-select --install (macOS)"
)


def build_package(cache: Cache, recipe: PackageRecipe, target: Path, heartbeat: Callable[[], None], pins: Path) -> None:
    """Installs the pinned package without its dependencies, and copies its files into `target`. A source package is compiled."""
    require_compiler(recipe)
    installed = target / "installed"
    install(cache, recipe.name, installed, target, pins, heartbeat, what=f"{recipe.package} {recipe.version}", cmake_args=recipe.cmake_args)
    for output in recipe.outputs:
        copy_out(installed / output.package, target / "bin" / output.name)
    for copy in recipe.copies:
        copy_out(installed / copy.source, target / copy.target)
    remove(installed)


def install_python(cache: Cache, recipe: PythonRecipe, target: Path, heartbeat: Callable[[], None], pins: Path) -> None:
    """Installs a program in Python with all that it imports."""
    home = target / "share" / recipe.name
    install(cache, recipe.name, home, target, pins, heartbeat, what=f"{recipe.package} {recipe.version}")


def install(
    cache: Cache,
    name: str,
    installed: Path,
    work: Path,
    pins: Path,
    heartbeat: Callable[[], None],
    *,
    what: str = "",
    cmake_args: tuple[str, ...] = (),
) -> None:
    """Installs what `pins/<name>/requirements.txt` pins by hash into the folder `installed`; `work` is for uv's temporary files."""
    cache.logs.mkdir(parents=True, exist_ok=True)
    kept, log = work / "uv", cache.logs / f"{name}.log"
    # uv's shared cache would reuse a package that was built with other flags.
    command = [find_uv(cache), "pip", "install", "--cache-dir", str(kept), "--python", sys.executable]
    command += ["--target", str(installed), "--no-deps", "--require-hashes", "-r", str(pins / name / "requirements.txt")]
    tools = pins / name / "build_requirements.txt"
    command += ["--build-constraints", str(tools)] if tools.exists() else []
    code = run_logged(command, folder=work, environment=_environment(cmake_args, pins / name), log=log, heartbeat=heartbeat)
    if code != 0:
        raise failure(f"installing {what or name}", end_of(log), log.parent, f"the log is {log} and")
    remove(kept)


def require_compiler(recipe: PackageRecipe) -> None:
    """Raises ToolchainError if the recipe needs a compiler and this machine has none."""
    compilers = (os.environ.get("CXX") or "c++", "g++", "clang++")
    if recipe.cmake_args and not (any(map(shutil.which, compilers)) and shutil.which("make")):
        raise ToolchainError(NO_COMPILER.format(name=recipe.name))


def _environment(cmake_args: tuple[str, ...], pins: Path) -> dict[str, str]:
    """Returns the environment for an installation; the package index stays that of the machine."""
    inherited = {key: value for key, value in os.environ.items() if key not in NOT_INHERITED}
    arguments = " ".join(argument.format(pins=pins) for argument in cmake_args)
    return inherited | {"CMAKE_ARGS": arguments, "LLAMA_CPP_BUILD_JOBS": str(os.cpu_count() or 1)}
