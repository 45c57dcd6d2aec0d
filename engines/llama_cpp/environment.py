"""llama-server's environment variables, each with the settings that it answers."""

from __future__ import annotations

from collections.abc import Collection

from engines.envoy.pipeline_server import HOME
from engines.flags import Flag, Variable, in_force, not_supported, passed_through, translated
from engines.llama_cpp.command_line import README, SOURCE
from engines.pods import GRAPHS_VARIABLE, env_key, variable, without_cuda_graphs
from engines.workload import Env
from settings import StackSettings
from settings.account import Effect

_READ_BY_CUDA = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_CACHE_PATH")
_CUDA_GUIDE = "NVIDIA CUDA programming guide: environment variables"
_NOT_READ = {
    "CUDA_MEMORY_POOL_SIZE": ("weights and cache are allocated once, at start; --ctx-size bounds them", README),
    "GC_INITIAL_HEAP_SIZE": ("llama-server is C++ and collects no garbage", README),
    "GC_MAXIMUM_HEAP_SIZE": ("llama-server is C++ and collects no garbage", README),
    "GC_THREADS": ("llama-server is C++ and collects no garbage", README),
    "ENABLE_AVX512": ("the image has a build for each kind of CPU and takes the best at start", f"{SOURCE} .devops/cuda.Dockerfile"),
    "OPENBLAS_NUM_THREADS": ("the image has no OpenBLAS; shard.config.workerThreads is --threads", f"{SOURCE} .devops/cuda.Dockerfile"),
    "MKL_NUM_THREADS": ("the image has no MKL; shard.config.workerThreads is --threads", f"{SOURCE} .devops/cuda.Dockerfile"),
}
"""Variables that nothing reads: why, source."""


def variables(settings: StackSettings, flags: Collection[Flag], keys: Collection[str]) -> tuple[Variable, ...]:
    """All variables of the container, the stack's own before the engine's.

    `flags` is the rendered command line, which overrules variables; `keys` are the settings that the stack has.
    """
    no_graphs = without_cuda_graphs(settings)
    asked = (Variable(variable(entry), _effect(entry.name, flags, keys, no_graphs)) for entry in settings.shard.env)
    own = [Variable(Env(name="HOME", value=HOME), why="the root file system is read-only, and CUDA keeps its compiled kernels below HOME")]
    if no_graphs:
        # Its presence is what counts: ggml/src/ggml-cuda/common.cuh.
        own.append(Variable(Env(name="GGML_CUDA_DISABLE_GRAPHS", value="1"), env_key(GRAPHS_VARIABLE)))
    return (*asked, *own)


def _effect(name: str, flags: Collection[Flag], keys: Collection[str], no_graphs: bool) -> Effect:
    """What becomes of a variable of `shard.env`."""
    key = env_key(name)
    if name in _READ_BY_CUDA:
        return in_force(key, source=_CUDA_GUIDE)
    if name == GRAPHS_VARIABLE:
        given = "GGML_CUDA_DISABLE_GRAPHS=1" if no_graphs else "CUDA graphs, which are the default"
        return translated(key, "llama.cpp looks for GGML_CUDA_DISABLE_GRAPHS only", f"{SOURCE} ggml/src/ggml-cuda/common.cuh", given=given)
    if name.startswith(_PREFIX):
        return _instead_of_a_flag(name, flags, keys)
    if name in _NOT_READ:
        return not_supported(key, *_NOT_READ[name])
    return passed_through(key)


_PREFIX = "LLAMA_ARG_"
_VARIABLES = {
    "--parallel": "N_PARALLEL",
    "--metrics": "ENDPOINT_METRICS",
    "--no-slots": "ENDPOINT_SLOTS",
    # These two have none.
    "--threads-batch": "",
    "--prio": "",
}
"""Flags whose variable is not named as they are."""


def variable_of(flag: str) -> str | None:
    """The variable that llama-server reads in place of a flag, such as `LLAMA_ARG_CTX_SIZE` for `--ctx-size`; None where it has none."""
    name = _VARIABLES.get(flag, flag.removeprefix("--").removeprefix("no-").upper().replace("-", "_"))
    return f"{_PREFIX}{name}" if name else None


def _instead_of_a_flag(name: str, flags: Collection[Flag], keys: Collection[str]) -> Effect:
    """A variable that stands for one of llama-server's flags: the command line has the last word."""
    key, positive = env_key(name), name.replace(f"{_PREFIX}NO_", _PREFIX)
    flag = next((flag for flag in flags if variable_of(flag.name) == positive), None)
    if flag is None:
        reads = "llama-server reads it in place of a flag; a name that it does not know is ignored, and the plan counts with none of them"
        return passed_through(key, reads, README)
    deciding = [setting for setting in flag.keys if setting in keys]
    instead = f"; what decides it: {', '.join(deciding)}" if deciding else "; it is no setting"
    because = f"llama-server overwrites the variable with the flag of its command line{instead}"
    return translated(key, because, f"{SOURCE} common/arg.cpp", given=" ".join(flag.words))
