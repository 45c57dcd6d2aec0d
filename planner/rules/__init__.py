"""What the planner knows about settings that contradict each other, the hardware or Azure. `RULES` run in this order."""

from planner.rules import batching, engine, front_door, hardware, memory, node, service, threads, waiting, weights

RULES = (
    # What the engine cannot do at all needs no further advice, and the number of shards decides most of the rest.
    *engine.RULES,
    *service.RULES,
    *front_door.RULES,
    # What the hardware cannot do frees memory, so it comes before the memory is shared out.
    *hardware.RULES,
    *memory.SHARE,
    # How many requests run at once decides what is left for the cache.
    *batching.RULES,
    *memory.RULES,
    # How many requests a pipeline runs decides how long others wait, and how many wait what the proxy's memory must hold.
    *waiting.RULES,
    front_door.size_of_the_longest_request,
    front_door.proxy_needs,
    # A node's copy of the weights is one more agent on it.
    *weights.RULES,
    *node.RULES,
    # Threads follow the CPUs that a shard really gets.
    *threads.RULES,
)

__all__ = ["RULES"]
