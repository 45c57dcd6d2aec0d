"""The SDK's debug messages reach the engine, all of them and in order, in a few calls."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from infra.debug_messages import AT_MOST, DELAY_S, _Together

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = """
import pulumi
from infra import debug_messages

debug_messages.send_together()
for number in range(30):
    pulumi.ComponentResource("zig-ai-aks:test:Part", f"part-{number}")
"""


class _Engine:
    """Keeps what `pulumi.log.debug` would have sent."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def debug(self, msg: str, *_: object, **__: object) -> None:
        self.calls.append(msg)


def _run(program: Coroutine[Any, Any, None]) -> None:
    """Unlike asyncio.run, this leaves the thread its event loop, which Pulumi's mocks use in the tests that follow."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(program)
    loop.close()


def test_the_messages_of_a_tenth_of_a_second_are_one_call() -> None:
    engine = _Engine()
    together = _Together(engine.debug)

    async def program() -> None:
        for number in range(5):
            together.debug(f"message {number}")
            await asyncio.sleep(0)
        assert not engine.calls
        await asyncio.sleep(DELAY_S * 2)

    _run(program())
    assert engine.calls == ["\n".join(f"message {number}" for number in range(5))]


def test_a_program_that_keeps_its_event_loop_busy_still_reports() -> None:
    engine = _Engine()
    together = _Together(engine.debug)

    async def program() -> None:
        for number in range(AT_MOST):
            together.debug(f"message {number}")

    _run(program())
    assert len(engine.calls) == 1


def test_a_message_about_a_resource_and_one_outside_an_event_loop_are_sent_at_once() -> None:
    engine = _Engine()
    together = _Together(engine.debug)
    together.debug("before the program")

    async def program() -> None:
        together.debug("about a resource", object())
        together.debug("of a stream", stream_id=3)

    _run(program())
    assert engine.calls == ["before the program", "about a resource", "of a stream"]


@pytest.mark.process
def test_a_person_who_asks_for_debug_messages_gets_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: zig-ai-aks\nruntime: python\n")
    (tmp_path / "__main__.py").write_text(PROGRAM)
    environment = {
        **os.environ,
        "VIRTUAL_ENV": str(Path(sys.executable).parent.parent),
        "PYTHONPATH": str(REPOSITORY),
        "PULUMI_BACKEND_URL": f"file://{tmp_path}",
        "PULUMI_HOME": str(tmp_path / "home"),
        "PULUMI_CONFIG_PASSPHRASE": "test",
        "PULUMI_SKIP_UPDATE_CHECK": "1",
    }

    def pulumi(*arguments: str) -> str:
        command = ["pulumi", *arguments, "--non-interactive"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    pulumi("stack", "init", "test")
    said = pulumi("preview", "--stack", "test", "--debug")
    for number in range(30):
        assert f"registering resource: ty=zig-ai-aks:test:Part, name=part-{number}," in said
        assert f"resource registration prepared: ty=zig-ai-aks:test:Part, name=part-{number}\n" in said
    assert "run_pulumi_func completed" in said, "the program's last message"
