"""Installs each program into its own folder, named by the content of its pins, and links all of them in bin and share.

A folder gets its final name only when it is complete, so a later run only has to see whether it exists.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from toolchain.cache import Cache, copy_out, point, remove, size_bytes
from toolchain.console import megabytes, say
from toolchain.edits import edit_modules
from toolchain.golang import BUILD_FLAGS, COMPILE_FLAGS, LINK_FLAGS, Go
from toolchain.npm import build_npm
from toolchain.packages import build_package, install_python
from toolchain.progress import Progress
from toolchain.recipes import KUBERNETES_PROVIDER_CODE_OF, AnyRecipe, PackageRecipe, PythonRecipe, Recipe

PINS = Path(__file__).resolve().parent / "programs"
PINNED = (".mod", ".sum", ".go", ".txt", ".cmake")


class CpuSeconds:
    """Counts the user and system seconds of the commands that this process has run, program by program."""

    def __init__(self) -> None:
        self.counted: dict[str, float] = {}
        self._before = self._now()

    def count(self, program: str) -> None:
        """Counts what was spent since the last program for this one."""
        now = self._now()
        self.counted[program] = round(now - self._before, 1)
        self._before = now

    @staticmethod
    def _now() -> float:
        times = os.times()
        return times.children_user + times.children_system


def folder_of(cache: Cache, recipe: AnyRecipe, pins: Path = PINS) -> Path:
    """Returns the folder of a program. Its name depends on what is built and not on the compiler, so a newer Go causes no new build."""
    what: dict[str, Any] = asdict(recipe) | ({"flags": [BUILD_FLAGS, LINK_FLAGS]} if isinstance(recipe, Recipe) else {})
    what.pop("shared", None)  # only where the pins are; what they say is part of the name
    if not what.get("edits"):
        what.pop("edits", None)
    for output in what["outputs"]:
        del output["cpu_seconds"]  # only an estimate
    content = hashlib.sha256(json.dumps(what, sort_keys=True).encode())
    for file in sorted(file for file in (pins / recipe.pins).iterdir() if file.suffix in PINNED):
        content.update(f"\0{file.name}\0".encode() + file.read_bytes())
    return cache.programs / f"{recipe.name}-{content.hexdigest()[:12]}"


def ensure_program(cache: Cache, recipe: AnyRecipe, go: Callable[[], Go], progress: Progress, pins: Path = PINS) -> Path:
    """Returns the program's folder (with bin/ and share/), and builds it first if it does not exist. Raises ToolchainError."""
    folder = folder_of(cache, recipe, pins)
    if folder.exists():
        return folder
    with cache.lock(recipe.name):
        if folder.exists():  # another run built it while this one waited
            progress.skip(recipe.outputs)
            return folder
        partial = folder.with_name(f".{folder.name}.partial")
        remove(partial)  # left by an interrupted run
        (partial / "bin").mkdir(parents=True)
        started, cpu_seconds = time.monotonic(), CpuSeconds()
        try:
            if isinstance(recipe, Recipe):
                build(recipe, partial, go(), progress, cpu_seconds, pins)
            else:
                heartbeat = progress.package(recipe)
                if isinstance(recipe, PackageRecipe):
                    build_package(cache, recipe, partial, heartbeat, pins)
                elif isinstance(recipe, PythonRecipe):
                    install_python(cache, recipe, partial, heartbeat, pins)
                else:
                    build_npm(cache, recipe, partial, heartbeat, pins)
                cpu_seconds.count(recipe.name)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)  # it may have filled the disk
            raise
        progress.end()
        size = size_bytes(partial)
        made = {"size_bytes": size, "seconds": round(time.monotonic() - started), "cpu_seconds": cpu_seconds.counted}
        (partial / "made.json").write_text(json.dumps(made))
        partial.rename(folder)
        say(f"{recipe.name} {recipe.version}: done in {time.monotonic() - started:.0f} s, {megabytes(size)}")
    return folder


def build(recipe: Recipe, target: Path, go: Go, progress: Progress, cpu_seconds: CpuSeconds, pins: Path) -> None:
    """Builds a program into `target`, from a copy of the pins, so that nothing is written to the repository. Raises ToolchainError."""
    go.cache.logs.mkdir(parents=True, exist_ok=True)
    source = target / "source"
    shutil.copytree(pins / recipe.pins, source)
    log = go.cache.logs / f"{recipe.name}.log"
    if recipe.embeds == "kubernetes-schema":
        embed_kubernetes_schema(go.module_folder(recipe.module, source, log) / "cmd" / "pulumi-resource-kubernetes", source)
    edited = edit_modules(recipe.edits, lambda module: go.module_folder(module, source, log), target / "edited")
    if edited:
        replaced = [f"-replace={module}={folder}" for module, folder in edited.items()]
        go.run(["mod", "edit", *replaced], folder=source, log=log, purpose=f"editing the modules of {recipe.name}", heartbeat=lambda: None)
    for output in recipe.outputs:
        flags = f"{LINK_FLAGS} {recipe.ldflags}".strip()
        tags = ["-tags", recipe.tags] if recipe.tags else []
        arguments = ["build", "-o", str(target / "bin" / output.name), COMPILE_FLAGS, "-ldflags", flags, *tags, output.package]
        heartbeat = progress.start(output.name, output.cpu_seconds)
        log = go.cache.logs / f"{output.name}.log"
        go.run(arguments, folder=source, log=log, purpose=f"building {output.name} {recipe.version}", heartbeat=heartbeat)
        cpu_seconds.count(output.name)
    for copy in recipe.copies:
        copy_out(go.module_folder(copy.module, source, log) / copy.source, target / copy.target)
    remove(source)
    remove(target / "edited")


def embed_kubernetes_schema(provider: Path, target: Path) -> None:
    """Writes the schema that main.go embeds as the provider's own generator does: with a version, and compact."""
    schema = json.loads((provider / "schema.json").read_text()) | {"version": KUBERNETES_PROVIDER_CODE_OF}
    mapping = json.loads((provider / "terraform-mapping.json").read_text())
    for name, content in {"schema.json": schema, "terraform-mapping.json": mapping}.items():
        (target / name).write_text(json.dumps(content, separators=(",", ":")))


def link(cache: Cache, folders: list[Path], installed: dict[str, Path], *, keep_others: bool = False) -> None:
    """Links the programs of these folders and the installed ones, and removes all other links unless `keep_others` is set."""
    wanted: dict[Path, Path] = {}
    for folder in folders:
        for kind, front in (("bin", cache.bin), ("share", cache.share)):
            for entry in (folder / kind).iterdir() if (folder / kind).exists() else ():
                wanted[front / entry.name] = Path(os.path.relpath(entry, front))
    wanted |= {cache.bin / name: file for name, file in installed.items()}
    # The language host looks for its executor beside its own resolved file. A relative link lets the cache be moved.
    host, executor = cache.bin / "pulumi-language-python", cache.bin / "pulumi-language-python-exec"
    if {host, executor} <= wanted.keys():
        beside = (host.parent / wanted[host]).resolve().with_name(executor.name)
        if beside != (executor.parent / wanted[executor]).resolve():
            wanted[beside] = Path(os.path.relpath(executor, beside.parent))
    there = {entry for front in (cache.bin, cache.share) if front.exists() for entry in front.iterdir()}
    superfluous = set() if keep_others else there - wanted.keys()
    if not superfluous and all(name.is_symlink() and os.readlink(name) == str(target) for name, target in wanted.items()):
        return  # so that a whole cache may be read-only
    with cache.lock("links"):
        for front in (cache.bin, cache.share):
            front.mkdir(parents=True, exist_ok=True)
        for name, target in wanted.items():
            point(name, target)
        for entry in superfluous:
            entry.unlink(missing_ok=True)


def prune(cache: Cache, keep: set[Path]) -> None:
    """Removes programs and environments of other pins that no link uses. Only on request, because another checkout may need them."""
    used = {link.resolve() for front in (cache.bin, cache.share) if front.exists() for link in front.iterdir()}
    keep = keep | {parent for file in used for parent in file.parents}
    for folder in (*cache.programs.iterdir(), *cache.root.glob("venv-*")):
        if folder not in keep:
            say(f"removing {folder}")
            remove(folder)
