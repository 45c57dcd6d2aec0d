"""The fit of the performance model: its measurements, the ridge over its constants, what points of one's own bring, the page's tables."""
