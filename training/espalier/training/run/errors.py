"""When training has to stop because its numbers mean nothing."""


class NotFiniteError(RuntimeError):
    """Loss or gradient is not finite: nothing was saved over, and the batch is on disk to be looked into."""


class MismatchError(RuntimeError):
    """Engine and trainer do not compute the same model, so rollouts of the one must not train the other."""
