"""The guide's own coordinator and shards."""
