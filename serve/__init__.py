"""Runs a stack's service on this machine: the pods' own command lines as processes, with a small model and without GPUs.

    python -m serve [--stack dev] [--pipelines 2]      or: make serve

Every difference from the pods is defined in `substitutions.py` and printed. Kubernetes is rehearsed in rehearsal/, and load is measured
in bench/.
"""
