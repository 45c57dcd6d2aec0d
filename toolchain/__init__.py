"""Installs the pinned programs and the Python environment. Uses only the standard library, because no environment exists yet.

    python3 -m toolchain         install everything: the virtual environment, the programs, the data files
    python3 -m toolchain get X   install the virtual environment and program X (a name in recipes.py), or several
    python3 -m toolchain venv    install only the virtual environment
    python3 -m toolchain bin     print the folder to put on PATH
    python3 -m toolchain lock    resolve requirements.txt into requirements.lock
    python3 -m toolchain pin X   rewrite the go.mod and go.sum of program X from the table in recipes.py
    python3 -m toolchain prune   remove programs and environments of other versions

A program that fits is used where it is installed; otherwise an official release is downloaded, and what has none is built from
source. `ZIG_AI_BUILD=1` builds everything. The programs are used in rehearsal/ and tests/.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - an older Python would fail later, with a traceback
    sys.exit(
        f"toolchain: Python 3.11 or newer is needed, and {sys.executable} is {sys.version_info[0]}.{sys.version_info[1]}; "
        "name a newer one, for example: make plan PYTHON=python3.12"
    )
