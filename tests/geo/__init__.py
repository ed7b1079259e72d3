"""The geo room: addresses, databases, overrides, partitions, geo codes."""
