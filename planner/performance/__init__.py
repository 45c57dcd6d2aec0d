"""Latency and throughput of a model on a layout of GPUs: equations, constants fitted to measurements, ranges.

`terms` has one function a term, `model` puts them together, `constants` says what was fitted, `workload` turns a question into the
numbers the terms need. Questions come from `asking` (the planner's own names) or `reading` (a CSV's rows); `estimate` answers.
Pure Python; docs/performance-model.md has the error, group by group left out.
"""
