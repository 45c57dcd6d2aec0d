"""What the planner knows about settings that contradict each other, the hardware or Azure. `RULES` run in this order.

Each file holds the rules of one subject. A new finding is one function below `@RULES.rule` there, with an entry in docs/findings.md and
a case in tests/planner/rules.
"""

from planner.rules import batching, engine, engine_arguments, front_door, hardware, memory, node, service, threads, waiting, weights

RULES = (
    # What the engine cannot do at all needs no further finding, and the number of shards decides most of the rest.
    *engine.RULES,
    *engine_arguments.RULES,
    *service.RULES,
    *front_door.RULES,
    # What the hardware cannot do frees memory, so it comes before the memory is shared out.
    *hardware.RULES,
    *memory.GPU_SHARE,
    # How many requests run at once decides what is left for the cache.
    *batching.RULES,
    *memory.RULES,
    # How many requests a pipeline runs decides how long others wait; how many wait decides how much memory the proxy needs.
    *waiting.RULES,
    *front_door.AFTER_WAITING,
    # A node's copy of the weights is one more agent on it.
    *weights.RULES,
    *node.RULES,
    # Threads follow the CPUs that a shard really gets.
    *threads.RULES,
)

__all__ = ["RULES"]
