"""Latency and throughput of a model on a layout of GPUs: equations, constants fitted to measurements, ranges.

`equations` has one function a term, `model` puts them together, `constants` says what was fitted, `questions` turns a question into the
numbers the terms need. Questions come from `planner/fit/estimate_question.py` (the catalogue's names) or `published_rows` (a CSV's);
`estimate` answers.
Pure Python; docs/performance-model.md has the error, group by group left out.
"""
