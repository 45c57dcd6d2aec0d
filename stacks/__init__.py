"""Joins the parts for one stack, and provides the commands check, explain, coverage, schema and api-keys."""
