"""Which conditions of some source files had both outcomes while a function ran: what a test of variations has left out."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from types import CodeType, FrameType


def one_sided(run: Callable[[], object], files: Collection[Path]) -> list[str]:
    """`file:line: condition, always true` (or false, as the jump has it) of those that were asked and had one outcome only."""
    assert all(file.is_file() for file in files), "a file that is not there has no condition that could be left out"
    names, before = {str(file) for file in files}, {}
    outcomes: dict[tuple[CodeType, int], set[bool]] = {}

    def each_instruction(frame: FrameType, event: str, _: object):
        if event == "opcode":
            last = before.get(id(frame))
            if last in (jumps := _jumps(frame.f_code)):
                outcomes.setdefault((frame.f_code, last), set()).add(frame.f_lasti == jumps[last].argval)
            before[id(frame)] = frame.f_lasti
        elif event == "return":
            before.pop(id(frame), None)
        return each_instruction

    def each_call(frame: FrameType, _event: str, _: object):
        if frame.f_code.co_filename not in names:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return each_instruction

    outer = sys.gettrace()
    sys.settrace(each_call)
    try:
        run()
    finally:
        sys.settrace(outer)
    return sorted({_text(code, offset, seen.pop()) for (code, offset), seen in outcomes.items() if len(seen) == 1})


@cache
def _jumps(code: CodeType) -> dict[int, dis.Instruction]:
    return {one.offset: one for one in dis.get_instructions(code) if "JUMP" in one.opname and "_IF_" in one.opname}


def _text(code: CodeType, offset: int, jumped: bool) -> str:
    """What the jump asks, for a comparison with None."""
    jump = _jumps(code)[offset]
    place = jump.positions
    assert place and place.lineno
    line = Path(code.co_filename).read_text().splitlines()[place.lineno - 1]
    condition = line[place.col_offset : place.end_col_offset] if place.lineno == place.end_lineno else line.strip()
    asks = next(one for one in ("NOT_NONE", "NONE", "TRUE", "FALSE") if f"_IF_{one}" in jump.opname)
    met = {"TRUE": jumped, "FALSE": not jumped, "NONE": f"None: {jumped}", "NOT_NONE": f"None: {not jumped}"}[asks]
    return f"{Path(code.co_filename).name}: {condition}, always {str(met).lower()}"
