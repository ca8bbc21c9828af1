"""When training has to stop because its numbers no longer are any."""


class NotFiniteError(RuntimeError):
    """Loss or gradient is not finite: nothing was saved over, and the batch is on disk for whoever looks into it."""
