"""The settings of a stack: frozen models for the sections of `Pulumi.<stack>.yaml`, and `load`, which checks all of them at once.

Where each section is defined, by its key in the stack file:

- `shard`: settings/shard.py
- `model`: settings/model.py
- `sharding`: settings/sharding.py
- `coordinator`: settings/coordinator.py
- `monitoring`, `caching`, `nodeTuning`, `profiling`, `loadTest`, `targets`: settings/operations.py
- `engine`, `engineArguments`: settings/stack.py
- `images`, `sizing`, `azure`, `cluster`, `gpuPool`, `redis`, `autoscaling`, `rollout`, `exposure`, `budget`: settings/platform.py

Rules over several settings are in settings/rules/.
"""

from settings.loading import load
from settings.problems import Problem, SettingsError
from settings.stack import StackSettings

__all__ = ["Problem", "SettingsError", "StackSettings", "load"]
