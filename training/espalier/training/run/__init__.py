"""A run on disk and on many processes: checkpoints, metrics, progress."""
