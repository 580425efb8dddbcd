"""A redis-server of Clarion's own, for who has none: found, configured, started, and never left behind."""
