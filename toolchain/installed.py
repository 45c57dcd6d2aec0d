"""Finds programs that are installed already and fit: an official Pulumi CLI, kubectl, and the Kubernetes plugin of Pulumi."""

import json
import os
import re
import subprocess
from pathlib import Path

from toolchain.cache import Cache
from toolchain.console import say
from toolchain.recipes import KUBERNETES_VERSION, MIN_PULUMI, WITH_OFFICIAL_PULUMI
from toolchain.venv import locked_version


def find_installed(cache: Cache, wanted: set[str]) -> dict[str, Path]:
    """Returns the installed files that fit, by the name of the program; only for programs in `wanted`."""
    found: dict[str, Path] = {}
    if set(WITH_OFFICIAL_PULUMI) <= wanted:
        found |= find_pulumi(cache)
    if "kubectl" in wanted:
        found |= find_kubectl(cache)
    if "pulumi-resource-kubernetes" in wanted:
        found |= find_kubernetes_plugin()
    return found


def find_pulumi(cache: Cache) -> dict[str, Path]:
    """Returns the files of the CLI and its language host by name, or nothing if no suitable one is on PATH."""
    program = _on_path(cache, "pulumi")
    if program is None:
        return {}
    files = {name: program.parent / name for name in WITH_OFFICIAL_PULUMI}
    lacking = [name for name, file in files.items() if not os.access(file, os.X_OK)]
    version = _version(cache, program, ["version"])
    wanted = ".".join(map(str, MIN_PULUMI))
    if lacking:
        reason = f"{lacking[0]} is not beside it"
    elif version < MIN_PULUMI:
        reason = f"it is version {'.'.join(map(str, version))}, and {wanted} or newer is needed"
    else:
        return files
    _leave(program, reason)
    return {}


def find_kubectl(cache: Cache) -> dict[str, Path]:
    """Returns kubectl from PATH if it is at most one minor version away from the API server's.

    Source: https://kubernetes.io/releases/version-skew-policy/#kubectl
    """
    program = _on_path(cache, "kubectl")
    if program is None:
        return {}
    version = _version(cache, program, ["version", "--client"])
    server = tuple(map(int, KUBERNETES_VERSION.removeprefix("v").split(".")[:2]))
    if version[0] == server[0] and abs(version[-1] - server[1]) <= 1:
        return {"kubectl": program}
    _leave(program, f"it is version {'.'.join(map(str, version))}, and at most one minor version from {KUBERNETES_VERSION} fits")
    return {}


def find_kubernetes_plugin() -> dict[str, Path]:
    """Returns the plugin that `pulumi plugin install` left in Pulumi's own folder, if it has the version of the SDK.

    The engine takes a plugin of exactly that version, and none beside which a `.partial` file lies (`SelectCompatiblePlugin` and
    `getPlugins` in https://github.com/pulumi/pulumi/blob/master/sdk/go/common/workspace/plugins.go). It looks on PATH first, so a link
    there serves every PULUMI_HOME.
    """
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    folder = home / "plugins" / f"resource-kubernetes-v{locked_version('pulumi-kubernetes')}"
    program = folder / "pulumi-resource-kubernetes"
    whole = os.access(program, os.X_OK) and not folder.with_name(f"{folder.name}.partial").exists()
    return {program.name: program.absolute()} if whole else {}


def _leave(program: Path, reason: str) -> None:
    say(f"{program} is not used: {reason}; the one in the cache comes first on PATH")


def _on_path(cache: Cache, name: str) -> Path | None:
    for folder in os.get_exec_path():
        program = Path(folder or ".").absolute() / name
        # The links in the cache's bin are not an installation of their own.
        if program.parent != cache.bin and os.access(program, os.X_OK) and program.is_file():
            real = program.resolve()
            if cache.root.resolve() not in real.parents:
                return real if name == "pulumi" else program  # Pulumi's language host lies beside the real file
    return None


def _version(cache: Cache, program: Path, arguments: list[str]) -> tuple[int, ...]:
    """Returns the major and minor version of a program, or (0,). It is remembered for each file, because a start takes half a second."""
    state = program.stat()
    identity = [str(program), state.st_mtime_ns, state.st_size]
    memory = cache.root / f"installed-{program.name}.json"
    try:
        remembered = json.loads(memory.read_text())
        if remembered["identity"] == identity:
            return tuple(remembered["version"])
    except (OSError, ValueError, KeyError):
        pass
    environment = os.environ | {"PULUMI_SKIP_UPDATE_CHECK": "1"}
    answer = subprocess.run([str(program), *arguments], env=environment, capture_output=True, text=True, check=False).stdout
    match = re.search(r"v?(\d+)\.(\d+)", answer)
    version = tuple(map(int, match.groups())) if match else (0,)
    cache.root.mkdir(parents=True, exist_ok=True)
    partial = memory.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps({"identity": identity, "version": version}))
    os.replace(partial, memory)
    return version
