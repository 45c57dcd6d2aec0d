"""The stack files that the project ships."""

STACKS = ("prod", "dev", "today", "today-70b")
TODAY = ("today", "today-70b")
"""Those that anybody can buy and run."""
