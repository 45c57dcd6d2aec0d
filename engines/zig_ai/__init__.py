"""The guide's own coordinator and shards."""

from engines.zig_ai.engine import ENGINE

__all__ = ["ENGINE"]
