"""A stack's service on this machine: the pods' own command lines as processes, with a small model and without GPUs.

    python -m serve [--stack dev] [--pipelines 2]      or: make serve

What must differ from the pods stands in `substitutions.py` and is printed. Not here: Kubernetes (rehearsal/), load (bench/).
"""
