"""What the settings mean: `plan(settings) -> Plan`. Pure Python; imports no cloud SDK."""

from planner.rules.planning import plan

__all__ = ["plan"]
