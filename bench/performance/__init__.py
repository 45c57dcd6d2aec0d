"""The fit of the performance model: which measurements it reads, and the ridge regression over its constants."""
