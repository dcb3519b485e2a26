"""Errors that end a command in one line instead of a traceback."""


class InputError(ValueError):
    """Bad input: a file, a folder, a config field, an argument.

    The message is one line that names the thing, its value and what to do. Command-line programs
    print it without a traceback and exit with status 1.
    """


def root_cause(error: BaseException) -> BaseException:
    """The InputError behind an error, if any: flags wrap the errors of a config in their own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, InputError) and cause.__context__ is None:
            return cause
        cause = cause.__cause__ or cause.__context__
    return error


class NonFiniteError(RuntimeError):
    """A training step's loss or gradient was not finite; the message names its dump."""


class StoppedError(RuntimeError):
    """Training was asked to stop and has saved its state; the same command continues it.

    Attributes:
        signal: the signal that asked.
    """

    def __init__(self, message: str, signal: int):
        super().__init__(message)
        self.signal = signal
