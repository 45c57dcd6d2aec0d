"""What exists in Azure: one component a file, joined in `platform.py`."""
