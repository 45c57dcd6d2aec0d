"""Downloads the sources of the next programs while the first ones are compiled, so that no core waits for the network."""

import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from toolchain.golang import Go
from toolchain.programs import PINS
from toolchain.recipes import Recipe


@contextmanager
def downloading_ahead(recipes: Sequence[Recipe], go: Callable[[], Go], pins: Path = PINS) -> Generator[None]:
    """Downloads what these programs import, one after the other, until the block ends.

    A failure is not reported: the build meets it again. Go itself keeps its cache in order between two processes.
    """
    ends, running = threading.Event(), []

    def work() -> None:
        for recipe in recipes:
            with tempfile.TemporaryDirectory() as scratch:
                shutil.copytree(pins / recipe.pins, scratch, dirs_exist_ok=True)
                if ends.is_set():
                    return
                packages = [output.package for output in recipe.outputs]
                wanted = ["list", "-deps", f"-tags={recipe.tags}", *packages] if packages else ["mod", "download", recipe.module]
                command = [found.program, *wanted]
                quiet = subprocess.DEVNULL
                running.append(subprocess.Popen(command, cwd=scratch, env=found.environment(), stdin=quiet, stdout=quiet, stderr=quiet))
                if ends.is_set():  # set since it was asked above, so nobody else stops this process
                    running[-1].terminate()
                running[-1].wait()

    if not recipes:
        yield
        return
    found = go()
    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        ends.set()
        for process in running[-1:]:
            process.terminate()
        worker.join()
