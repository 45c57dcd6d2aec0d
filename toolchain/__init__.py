"""Which programs must be on PATH, pinned, and how each is got. Standard library only: it runs before any environment exists.

    python3 -m toolchain         everything: the virtual environment, the programs, the data files
    python3 -m toolchain get X   the virtual environment and program X (a name in recipes.py), or several
    python3 -m toolchain venv    the virtual environment only
    python3 -m toolchain bin     print the folder to put on PATH
    python3 -m toolchain lock    resolve requirements.txt into requirements.lock
    python3 -m toolchain pin X   write program X's go.mod and go.sum anew from the table in recipes.py
    python3 -m toolchain prune   remove what only other versions of these pins needed

Not here: what is run with these programs (rehearsal/, tests/).
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - an older one would fail later, with a traceback
    sys.exit("toolchain: Python 3.11 or newer is needed; for example: make PYTHON=python3.12 toolchain")
