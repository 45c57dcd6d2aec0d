"""Decides where each program comes from: installed on this machine, an official release, or built from source.

`ZIG_AI_BUILD=1` builds all of them.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from toolchain.cache import Cache
from toolchain.installed import find_installed
from toolchain.official import Release, fetch_all, known_releases
from toolchain.programs import PINS, folder_of
from toolchain.recipes import AnyRecipe, Recipe


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where the wanted programs come from."""

    installed: dict[str, Path]
    releases: list[Release]
    recipes: list[AnyRecipe]
    """What is built, or was built before: the recipes without the programs that are had otherwise."""


def programs_of(recipe: AnyRecipe) -> set[str]:
    """Returns the names of a recipe's programs, copied ones too."""
    copies = recipe.copies if isinstance(recipe, Recipe) else ()
    return {output.name for output in recipe.outputs} | {Path(copy.target).name for copy in copies if copy.target.startswith("bin/")}


def without(recipes: Iterable[AnyRecipe], programs: set[str]) -> list[AnyRecipe]:
    """Returns the recipes that are left when these programs are had otherwise."""
    left: list[AnyRecipe] = []
    for recipe in recipes:
        if not isinstance(recipe, Recipe) or not programs & programs_of(recipe):
            left.append(recipe)
            continue
        outputs = tuple(output for output in recipe.outputs if output.name not in programs)
        copies = tuple(copy for copy in recipe.copies if not (copy.target.startswith("bin/") and Path(copy.target).name in programs))
        if outputs or copies:
            left.append(replace(recipe, outputs=outputs, copies=copies))
    return left


def choose(
    cache: Cache,
    recipes: Iterable[AnyRecipe],
    pins: Path = PINS,
    known: Callable[[Path], list[Release]] = known_releases,
) -> Sources:
    """Downloads the official releases that can be had, and returns where each program comes from.

    What is in the cache already is used as it is, and nothing is asked for it.
    """
    recipes = list(recipes)
    if os.environ.get("ZIG_AI_BUILD"):
        return Sources(installed={}, releases=[], recipes=recipes)
    built = [recipe for recipe in recipes if folder_of(cache, recipe, pins).exists()]
    missing = [recipe for recipe in recipes if recipe not in built]
    installed = find_installed(cache, _programs(missing))
    missing = without(missing, set(installed))
    names = _programs(missing)
    releases = [release for release in known(pins) if set(release.programs) <= names] if names else []
    there = [release for release in releases if release.folder(cache).exists()]
    lacking = [recipe for recipe in without(missing, _names(there)) if not folder_of(cache, recipe, pins).exists()]
    there += fetch_all(cache, [release for release in releases if release not in there and set(release.programs) <= _programs(lacking)])
    return Sources(installed=installed, releases=there, recipes=[*built, *without(missing, _names(there))])


def _programs(recipes: Iterable[AnyRecipe]) -> set[str]:
    return {name for recipe in recipes for name in programs_of(recipe)}


def _names(releases: Iterable[Release]) -> set[str]:
    return {name for release in releases for name in release.programs}
