"""How near a question is to the measurements of the fit, and which measured errors make its range."""

from __future__ import annotations

from planner.performance.model_inputs import ModelInputs

NAMES = MEASURED, OTHERWISE, KIN, BEYOND = "measured", "measured otherwise", "kin measured", "beyond"
"""The question's combination (an architecture, a GPU family and an engine) was measured, with such lengths, precision, generation of the
engine and load; or it was with others; or only its shape was under the engine, on other GPUs or with another feed-forward part; or its
GPU family, its shape or the generation is new to the engine, or a length or the load is outside all rows."""


def nearness(target: str, inputs: ModelInputs, seen: dict) -> str:
    """Returns one of the four names above. `seen` is what the fit stores about its rows (bench/performance/ranges.py)."""
    load = inputs.concurrency * inputs.sharing
    if beyond_all(inputs.keys, inputs.isl, inputs.osl, load, seen):
        return BEYOND
    own = seen["combinations"].get(inputs.keys["combination"])
    if own is None:
        return KIN
    rows = own.get(target)
    if rows is None or any(inputs.keys[level] not in rows[level] for level in ("generation", "precision")):
        return OTHERWISE
    # Fewer requests than were measured are no new situation, as nothing waits.
    inside = _within(rows["input_tokens"], inputs.isl) and _within(rows["output_tokens"], inputs.osl) and load <= rows["concurrency"][1]
    return MEASURED if inside else OTHERWISE


def beyond_all(keys: dict[str, str], input_tokens: float, output_tokens: float, concurrency: float, seen: dict) -> bool:
    """Whether a GPU or a shape is new to this engine, the engine's generation is new, or a length or the load is outside all rows."""
    if any(keys[level] not in seen[level] for level in ("family,engine", "shape,engine", "generation")):
        return True
    asked = {"input_tokens": input_tokens, "output_tokens": output_tokens, "concurrency": concurrency}
    return any(not _within(limits, asked[name]) for name, limits in seen["limits"].items())


def range_classes(target: str, near: str, engine: str, family: str) -> list[str]:
    """Classes of rows whose error is like that of a question so near to what was measured, closest first: the engine tells most."""
    return [f"{target} {near}, {engine} on {family}", f"{target} {near}, {engine}", f"{target}, {engine}", f"{target} {near}", target]


def range_of(known: dict[str, list[float]], target: str, near: str, engine: str, family: str) -> list[float]:
    """Two factors on an estimate, of the closest class that has any."""
    return next(known[each] for each in range_classes(target, near, engine, family) if each in known)


def _within(limits: list[float], value: float) -> bool:
    return limits[0] <= value <= limits[1]
