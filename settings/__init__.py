"""What a user can say: one frozen model a section of `Pulumi.<stack>.yaml`, and `load`, which checks all of it at once."""

from settings.loading import load
from settings.problems import Problem, SettingsError
from settings.stack import StackSettings

__all__ = ["Problem", "SettingsError", "StackSettings", "load"]
