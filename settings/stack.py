"""All sections of one stack file."""

from typing import Literal

from settings.base import Section
from settings.coordinator import Coordinator
from settings.model import Model
from settings.operations import Caching, LoadTest, Monitoring, NodeTuning, Profiling, Targets
from settings.platform import Autoscaling, Azure, Budget, Cluster, Exposure, GpuPool, Images, Redis, Rollout, Sizing
from settings.shard import Shard
from settings.sharding import Sharding


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
