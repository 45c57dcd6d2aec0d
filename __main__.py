"""The program `pulumi up` runs. What it does is in stacks/."""

import atexit
import gc

from infra import debug_messages
from stacks.program import main

# A program of seconds makes some 100 000 objects that stay, most of them the SDK's types: to look through them again and again for
# garbage takes a fourth of its time, and to look through them once more at its end half a second.
gc.disable()
atexit.register(gc.freeze)
debug_messages.send_together()
main()
