"""All sections of one stack file."""

from typing import Annotated, Literal

from pydantic import Field

from settings.base import Section
from settings.coordinator import Coordinator
from settings.formats import FlagValue, Form
from settings.model import Model
from settings.operations import Caching, LoadTest, Monitoring, NodeTuning, Profiling, Targets
from settings.platform import Autoscaling, Azure, Budget, Cluster, Exposure, GpuPool, Images, Redis, Rollout, Sizing
from settings.shard import Shard
from settings.sharding import Sharding

EngineFlag = Annotated[
    str,
    Form(
        r"--[a-z][a-z0-9-]*",
        "is no flag by its long name: the server would end at start",
        "the flag with two dashes, in lower case and without its value, such as --tool-call-parser",
    ),
]
EngineArguments = dict[EngineFlag, Annotated[str | int | float | bool, FlagValue]]


class StackSettings(Section):
    """All sections of a stack file, one attribute per key below `config:`. Every default is in these models."""

    shard: Shard = Shard()
    model: Model = Model()
    sharding: Sharding = Sharding()
    coordinator: Coordinator = Coordinator()
    monitoring: Monitoring = Monitoring()
    caching: Caching = Caching()
    node_tuning: NodeTuning = NodeTuning()
    profiling: Profiling = Profiling()
    load_test: LoadTest = LoadTest()
    targets: Targets = Targets()
    engine: Literal["zig_ai", "llama_cpp", "vllm"] = "zig_ai"
    """The inference server that runs in the pods."""
    engine_arguments: EngineArguments = Field(default_factory=dict)
    """Flags of the engine's server that no setting covers, each with its value; `true` for a flag that stands alone. They follow this
    program's own flags on the command line."""
    images: Images = Images()
    sizing: Sizing = Sizing()
    azure: Azure = Azure()
    cluster: Cluster = Cluster()
    gpu_pool: GpuPool = GpuPool()
    redis: Redis = Redis()
    autoscaling: Autoscaling = Autoscaling()
    rollout: Rollout = Rollout()
    exposure: Exposure = Exposure()
    budget: Budget = Budget()
