"""What every GPU node runs before a shard can be placed on it."""
