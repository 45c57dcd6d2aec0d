"""The command `python3 -m toolchain [all|get NAME...|venv|bin|lock|pin NAME|prune]`, which the package's docstring describes."""

import argparse
import errno
import json
import signal
import sys
import time
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path

from toolchain.ahead import downloading_ahead
from toolchain.cache import Cache
from toolchain.console import OfflineError, ToolchainError, megabytes, say
from toolchain.failures import no_space
from toolchain.golang import find_go
from toolchain.packages import require_compiler
from toolchain.pin import pin
from toolchain.programs import ensure_program, folder_of, link, prune
from toolchain.progress import Progress
from toolchain.recipes import GROUPS, PROGRAMS, AnyRecipe, PackageRecipe, Recipe
from toolchain.sources import choose, programs_of
from toolchain.venv import ensure_venv, python_packages_bytes, venv_folder, write_lock


def named_recipes(names: list[str]) -> list[AnyRecipe]:
    """Returns the recipes of these groups or programs, in the order of the table. Raises ToolchainError for a name that is neither."""
    recipes = {recipe.name: (recipe,) for recipe in PROGRAMS} | GROUPS
    if unknown := [name for name in names if name not in recipes]:
        raise ToolchainError(
            f"there is no program or group {', '.join(unknown)}; the groups are {', '.join(GROUPS)}, the programs: "
            f"{', '.join(recipe.name for recipe in PROGRAMS)}"
        )
    wanted = {recipe.name for name in names for recipe in recipes[name]}
    return [recipe for recipe in PROGRAMS if recipe.name in wanted]


def ensure_everything(cache: Cache) -> None:
    """Installs the environment and all programs, and links exactly these in bin and share."""
    started = time.monotonic()
    venv = ensure_venv(cache)
    folders = _ensure(cache, venv, PROGRAMS, keep_others=False)
    size = python_packages_bytes(venv) + sum(json.loads((folder / "made.json").read_text())["size_bytes"] for folder in folders)
    programs = len(list(cache.bin.iterdir()))
    say(f"ready: {programs} programs and the environment, {megabytes(size)} in {cache.root} ({time.monotonic() - started:.1f} s)")


def _ensure(cache: Cache, venv: Path, recipes: Sequence[AnyRecipe], *, keep_others: bool) -> list[Path]:
    """Installs and links these programs, and returns their folders. What is installed on this machine already is linked instead."""
    for recipe in recipes:
        if isinstance(recipe, PackageRecipe) and not folder_of(cache, recipe).exists():
            require_compiler(recipe)  # before the others take half an hour
    sources = choose(cache, recipes)
    folders = [release.folder(cache) for release in sources.releases] + _ensure_programs(cache, venv, sources.recipes)
    link(cache, folders, sources.installed, keep_others=keep_others)
    cache.remove_work_if_idle()
    return folders


def _ensure_programs(cache: Cache, venv: Path, recipes: list[AnyRecipe]) -> list[Path]:
    missing = [recipe for recipe in recipes if not folder_of(cache, recipe).exists()]
    if not missing:  # so that a whole cache may be read-only
        return [folder_of(cache, recipe) for recipe in recipes]
    progress = Progress.of(missing)
    if progress.outputs:
        say(f"{progress.announcement()}; building all of them takes up to 17 GB of disk")
        say("you can stop this at any time; the next run continues from there")
    go = lru_cache(maxsize=None)(partial(find_go, cache, venv / "bin" / "python"))
    later = [recipe for recipe in missing if isinstance(recipe, Recipe)][1:]
    with cache.building(), downloading_ahead(later, go):
        return [ensure_program(cache, recipe, go, progress) for recipe in recipes]


def _what_is_missing(cache: Cache, recipes: Sequence[AnyRecipe]) -> str:
    """Returns what a run without a network lacks, and how to bring it."""
    missing = [] if venv_folder(cache).exists() else ["the Python environment"]
    missing += [
        name for recipe in recipes if not folder_of(cache, recipe).exists() for name in sorted(programs_of(recipe)) or [recipe.name]
    ]
    return (
        f"Missing: {', '.join(missing)}. To bring it, connect this machine, or name mirrors that it reaches (PIP_INDEX_URL and "
        "UV_DEFAULT_INDEX for Python packages, GOPROXY for Go modules, NPM_CONFIG_REGISTRY for npm), or run the same command on a machine "
        f"with the same system, Python and paths, and copy its {cache.root}"
    )


def _stopped(problem: str) -> int:
    say(problem)
    return 1


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m toolchain", description="Install the pinned programs into the per-user cache.")
    parser.add_argument("what", nargs="?", default="all", choices=("all", "get", "venv", "bin", "lock", "pin", "prune"))
    parser.add_argument(
        "names",
        nargs="*",
        help="for get: the programs or groups to install; for pin: the program whose go.mod and go.sum to rewrite",
    )
    parser.add_argument("--upgrade", action="store_true", help="for lock: take newer versions of indirect dependencies")
    options = parser.parse_args(arguments)
    cache = Cache.of_user()
    for number in (signal.SIGTERM, signal.SIGHUP):  # so that a stopped run stops its compilers too
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    recipes: Sequence[AnyRecipe] = PROGRAMS if options.what == "all" else ()
    try:
        if options.what == "bin":
            print(cache.bin)
        elif options.what == "venv":
            ensure_venv(cache)
        elif options.what == "get":
            recipes = named_recipes(options.names)
            _ensure(cache, ensure_venv(cache), recipes, keep_others=True)
        elif options.what == "prune":
            prune(cache, keep={ensure_venv(cache), *(folder_of(cache, recipe) for recipe in PROGRAMS)})
        elif options.what == "lock":
            write_lock(cache, upgrade=options.upgrade)
        elif options.what == "pin":
            pin(cache, options.names[0] if options.names else None)
        else:
            ensure_everything(cache)
    except OfflineError as problem:
        return _stopped(f"{problem}. {_what_is_missing(cache, recipes)}")
    except ToolchainError as problem:
        return _stopped(str(problem))
    except OSError as problem:
        full = problem.errno in (errno.ENOSPC, errno.EDQUOT)
        return _stopped(no_space(cache.root) if full else f"{problem} (the cache is {cache.root}; ZIG_AI_CACHE selects another folder)")
    except KeyboardInterrupt:
        say("stopped; the next run continues from here")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
