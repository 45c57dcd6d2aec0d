"""Envoy as the coordinator of engines that have none."""
