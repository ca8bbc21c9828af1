"""Many problems over a queue in Redis."""
