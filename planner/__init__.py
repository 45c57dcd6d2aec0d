"""What the settings mean: `plan(settings) -> Plan`. Pure Python; imports no cloud SDK."""

from planner.planning import plan

__all__ = ["plan"]
