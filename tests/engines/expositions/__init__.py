"""What each release says at /metrics, recorded or from its source: the first line of each file in `data/` says which."""

import re
from pathlib import Path

DATA = Path(__file__).parent / "data"


def exposition(exporter):
    return (DATA / f"{exporter}.prom").read_text()


def families(text):
    """Returns the type of each metric of an exposition, by its name."""
    return dict(re.findall(r"^# TYPE (\S+) (\w+)$", text, flags=re.MULTILINE))


def series(text):
    """Returns the name and the labels of each series of an exposition."""
    found = re.findall(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+(?: \d+)?$", text, flags=re.MULTILINE)
    return [(name, dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels))) for name, labels in found]
