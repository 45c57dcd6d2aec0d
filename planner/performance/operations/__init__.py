"""The times of a service from the measured times of its engine's operations: `table` has them, `steps` adds them up, `served` queues."""
