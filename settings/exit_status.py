"""How a command ends when whoever reads it or started it has had enough: without a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def ended(main: Callable[[], int]) -> int:
    """Exit status of `main`: its own, 130 after Ctrl-C, 141 when the reader of a pipe has gone (`| head`), as shells have them."""
    try:
        status = main()
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Python would complain of what is still to be written when it ends: docs.python.org/3/library/signal.html#note-on-sigpipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
