"""Errors that a user can cause. Each message says what, where, what was expected, and the next step, in one line."""


class PmgsError(Exception):
    """Base of every error this library raises on purpose."""


class ParameterError(PmgsError):
    """An argument, a configuration value or a notebook parameter is not usable."""


class DataError(PmgsError):
    """A file, scene or capture is missing, damaged or inconsistent."""


class BackendError(PmgsError):
    """A rasterizer or neighbour backend cannot serve the request on this machine."""


class CheckpointError(PmgsError):
    """Weights are missing, damaged or belong to another model."""


class ExportError(PmgsError):
    """A file that was written does not hold what was to be written."""


class RunError(PmgsError):
    """A notebook run could not start or did not succeed."""


class TrainingError(PmgsError):
    """A training step produced something that must not reach the optimizer."""


def first_line(error: BaseException) -> str:
    """What a foreign error says, short enough to stand inside a message of ours; its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
