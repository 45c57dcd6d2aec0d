"""Rewrites a program's go.mod and go.sum from the table. Nothing else changes what is pinned."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from toolchain.cache import Cache
from toolchain.console import ToolchainError, say
from toolchain.golang import Go, find_go
from toolchain.programs import PINS
from toolchain.recipes import KUBERNETES, KUBERNETES_PROVIDER, RECIPES, Recipe
from toolchain.venv import ensure_venv

# go.sum must cover modules that only one of these systems needs.
SYSTEMS = (("linux", "amd64"), ("linux", "arm64"), ("darwin", "arm64"))


def pin(cache: Cache, name: str | None) -> None:
    """Rewrites the go.mod and go.sum of one program, and of those that share them. Raises ToolchainError."""
    folder_name = next((recipe.pins for recipe in RECIPES if name in (recipe.name, recipe.pins)), None)
    if folder_name is None:
        raise ToolchainError(f"name a program to pin: {', '.join(recipe.name for recipe in RECIPES)}")
    recipes = [recipe for recipe in RECIPES if recipe.pins == folder_name]
    go = find_go(cache, ensure_venv(cache) / "bin" / "python")
    home = PINS / folder_name
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for file in home.glob("*.go"):
            shutil.copy(file, folder)
        (folder / "go.mod").write_text(_go_mod(go, recipes, folder))
        _complete(go, recipes, folder)
        for file in ("go.mod", "go.sum"):
            shutil.copy(folder / file, home)
    say(f"pinned {', '.join(f'{recipe.name} {recipe.version}' for recipe in recipes)}: {home}")


def _go_mod(go: Go, recipes: list[Recipe], folder: Path) -> str:
    required = "".join(f"\t{recipe.module} {recipe.version}\n" for recipe in sorted(recipes, key=lambda recipe: recipe.module))
    text = f"module zig-ai-aks/toolchain/{recipes[0].pins}\n\ngo 1.26.0\n\nrequire (\n{required})\n"
    if KUBERNETES in recipes:
        (folder / "go.mod").write_text(text)
        upstream = Path(json.loads(_run(go, folder, "mod", "download", "-json", KUBERNETES.module))["Dir"], "go.mod").read_text()
        text += "\n" + "\n".join(re.findall(r"^godebug .*$", upstream, re.MULTILINE)) + "\n"
        staging = re.findall(r"^\s+(k8s\.io/\S+) => \./staging/", upstream, re.MULTILINE)
        version = KUBERNETES.version.replace("v1.", "v0.", 1)
        text += "\n// Kubernetes' own go.mod replaces its staging modules by folders of its repository, which does not count here.\n"
        text += "replace (\n" + "".join(f"\t{module} => {module} {version}\n" for module in staging) + ")\n"
    return text


def _complete(go: Go, recipes: list[Recipe], folder: Path) -> None:
    if KUBERNETES_PROVIDER in recipes:  # main.go embeds these files; only its imports matter here
        for name in ("schema.json", "terraform-mapping.json"):
            (folder / name).touch()
    packages = [output.package for recipe in recipes for output in recipe.outputs]
    for system, processor in SYSTEMS if packages else ():
        _run(go, folder, "list", "-deps", *packages, GOOS=system, GOARCH=processor)
    for module in sorted({recipe.module for recipe in recipes} | {copy.module for recipe in recipes for copy in recipe.copies}):
        _run(go, folder, "mod", "download", "-json", module)


def _run(go: Go, folder: Path, *arguments: str, **extra: str) -> str:
    environment = go.environment(mode="mod") | extra
    result = subprocess.run([go.program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        tail = os.linesep.join(result.stderr.strip().splitlines()[-15:])
        raise ToolchainError(f"go {' '.join(arguments[:2])} failed:\n{tail}")
    return result.stdout
