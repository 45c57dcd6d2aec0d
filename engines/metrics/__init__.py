"""The metrics that the project asks for, one table for each exporter and release: `data/*.csv`.

Scrape jobs, recording rules, alerts and the autoscaler's query take names from here, and nothing else spells one. What a release
really says is in `tests/engines/expositions/`, against which every row is held.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One row of a table. As text it is its name, so that a query can be written around it."""

    name: str
    """The name that a query asks for; a histogram's without `_bucket`."""
    type: str
    """`counter`, `gauge` or `histogram`."""
    labels: tuple[str, ...]
    """Those that each of its series has."""
    unit: str
    meaning: str
    source: str

    def __str__(self) -> str:
        return self.name

    @property
    def series(self) -> tuple[str, ...]:
        """The names of its series."""
        return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count")) if self.type == "histogram" else (self.name,)


@functools.cache
def table(exporter: str) -> Mapping[str, Metric]:
    """Returns the metrics of an exporter, such as `envoy` or `vllm-0.17.1`, by the table's own key. Raises OSError for an unknown one."""
    with (DATA / f"{exporter}.csv").open(newline="") as file:
        return {
            row["key"]: Metric(
                name=row["metric"],
                type=row.get("type", "gauge"),
                labels=tuple(row.get("labels", "").split()),
                unit=row["unit"],
                meaning=row["meaning"],
                source=row.get("source", ""),
            )
            for row in csv.DictReader(file)
        }


BUDGET_WINDOWS = ("5m", "30m", "1h", "6h")
"""Over which the shares of failed and of slow requests are recorded. https://sre.google/workbook/alerting-on-slos/"""
RECORDED = table("recorded")
"""The series that Prometheus records for every engine alike, as far as its servers say what is needed."""


def one_of(*metrics: Metric) -> str:
    """Returns a regular expression of the names of all their series, for a scrape job's filter."""
    return "|".join(name for metric in metrics for name in metric.series)
