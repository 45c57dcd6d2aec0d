"""Ends a command without a traceback when it is interrupted or its output is no longer read."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def ended(main: Callable[[], int]) -> int:
    """Runs `main` and returns its exit status: 130 after Ctrl-C and 141 when a pipe is closed (`| head`), as shells use them."""
    try:
        status = main()
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # At its end, Python would complain about output that is not written yet: docs.python.org/3/library/signal.html#note-on-sigpipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
