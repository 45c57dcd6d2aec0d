"""Estimates the latency and throughput of a model on a layout of GPUs: equations, constants fitted to measurements, and ranges.

`equations` has one function for each term and `model` puts them together; `constants` says what was fitted, and `model_inputs` turns a
question (`questions`) into the numbers that the equations need. Questions come from `planner/fit/estimate_question.py` (in the catalogue's
names) or from `published_rows` (a CSV's rows), and `estimate` answers them. It is pure Python; docs/performance-model.md states the error
for each group of measurements that the fit did not see.
"""
