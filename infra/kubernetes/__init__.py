"""What exists in the cluster: one component a file, joined in `platform.py`."""
