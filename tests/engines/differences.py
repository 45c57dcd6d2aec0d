"""A rendered stack as a mapping from place to value, and what differs between two of them beside what effects name."""

import re
from fnmatch import fnmatchcase

from engines import ENGINES
from infra.endpoints import endpoints
from planner import plan as make_plan
from tests.engines.rendering import manifest


class Rendered:
    """A stack's servers, each as a mapping from place to value."""

    def __init__(self, settings):
        plan = make_plan(settings)
        names = endpoints(plan, registry="registry.example", redis="redis.example" if plan.redis_sku else None)
        self.workload = ENGINES[plan.settings.engine].render(plan.settings, plan, names)
        servers = {role: getattr(self.workload, role) for role in ("coordinator", "shard", "worker")}
        self._documents = {role: _document(server) for role, server in servers.items() if server}
        self.values = {(role, *place): value for role, found in self._documents.items() for place, value in _leaves(found)}

    def named(self, key):
        """The places of a setting's effects; a switch acts wherever the other settings of its section do."""
        section = key.removesuffix("enabled") if key.endswith(".enabled") else f"{key}."
        return {self._placed(effect) for effect in self._effects if effect.key == key or effect.key.startswith(section)}

    def in_force(self, key):
        """The places that are there and that the setting is the value of."""
        outcomes = ("in force", "passed through")
        places = {self._placed(effect) for effect in self._effects if effect.key == key and effect.outcome in outcomes}
        return {place for place in places if any(found[: len(place)] == place for found in self.values)}

    def _placed(self, effect):
        return (effect.place.kind, *_place(self._documents[effect.place.kind], effect.place.path))

    @property
    def _effects(self):
        return [effect for effect in self.workload.effects if effect.place.kind != "plan"]


def _document(server):
    """The manifest with its command line taken apart: a flag's value by the flag, any other word by its position."""
    found = manifest(server)
    words = found.pop("args", [])
    found["args"] = {}
    for index, word in enumerate(words):
        if word.startswith("--"):
            alone = index + 1 == len(words) or words[index + 1].startswith("--")
            found["args"][word] = word if alone else words[index + 1]
        elif index == 0 or not words[index - 1].startswith("--"):
            found["args"][str(index)] = word
    # Flags in a shell's command have values of their own, and the rest of the text stays.
    text = " ".join(found.pop("command", []))
    found["command"] = {"text": re.sub(r"=\S+", "=", text)} | dict(re.findall(r"(--[\w-]+)=(\S+)", text))
    return found


def _names(items):
    """Items of a list by their names, those of the same name counted from the last; by number where they have none."""
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    return [(name, names[index + 1 :].count(name)) if isinstance(name, str) else index for index, name in enumerate(names)]


def _leaves(value, place=()):
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from _leaves(child, (*place, key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for name, item in zip(_names(value), value, strict=True):
            yield from _leaves(item, (*place, name))
    else:
        yield place, value


PART = re.compile(r'\.?([\w-]+)|\["([^"]+)"\]|\[(\d+)\]|\[([^\]"]+)\]')


def _place(value, path):
    """A written path with lists' items by their names, as `_leaves` has them: an index shifts when an item is added before it."""
    place = []
    for part in PART.finditer(path):
        key = next(group for group in part.groups() if group is not None)
        if isinstance(value, list):
            names = _names(value)
            found = [
                index for index, name in enumerate(names) if str(index) == key or (isinstance(name, tuple) and fnmatchcase(name[0], key))
            ]
            key, value = (names[found[0]], value[found[0]]) if found else (key, None)
        else:
            value = value.get(key) if isinstance(value, dict) else None
        place.append(key)
    return tuple(place)


def differences(before, after):
    """The places whose values differ, and the largest parts that only one of both has."""
    parts = {_part(place, before.values, after.values) for place in before.values.keys() | after.values.keys()}
    return parts - {None}


def unnamed(before, after, key):
    """Places that changed and that no effect of the setting names: for an added or removed part, nothing in it and nothing around it."""
    named = before.named(key) | after.named(key)
    return {
        part for part in differences(before, after) if not any(part[: len(name)] == name or name[: len(part)] == part for name in named)
    }


def _part(place, before, after):
    """The place, or the largest part around it that only one of both has; None where both have the same value."""
    if place in before and place in after:
        return None if before[place] == after[place] else place
    other = after if place in before else before
    depths = range(1, len(place) + 1)
    return next((place[:depth] for depth in depths if not any(found[:depth] == place[:depth] for found in other)), place)
