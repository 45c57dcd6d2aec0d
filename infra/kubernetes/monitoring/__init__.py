"""Prometheus, what it scrapes, its rules, and the GPU exporter."""
