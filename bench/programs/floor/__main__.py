"""The floor of the comparison: it imports the SDK modules that a preview of prod imports, and does nothing else."""

import atexit
import gc
import importlib
import json
from pathlib import Path

gc.disable()  # as the program does, and the next line too
atexit.register(gc.freeze)
for module in json.loads((Path(__file__).parent / "modules.json").read_text()):
    importlib.import_module(module)
