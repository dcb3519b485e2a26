"""Errors that end a command in one line instead of a traceback."""


class InputError(ValueError):
    """Something the user gave cannot be used: a file, a folder, a config field, a key.

    The message is one line that names the thing, the value found and what to do. Command-line
    programs print it without a traceback and exit with status 1.
    """


def root_cause(error: BaseException) -> BaseException:
    """The InputError that an error came from: flags wrap those of a config in their own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, InputError) and cause.__context__ is None:
            return cause
        cause = cause.__cause__ or cause.__context__
    return error


class NonFiniteError(RuntimeError):
    """A training step's loss or gradient was not finite; the message says where its dump lies."""


class StoppedError(RuntimeError):
    """Training was asked to stop and has saved what there was; the same command continues it.

    Attributes:
        signal: the signal that asked.
    """

    def __init__(self, message: str, signal: int):
        super().__init__(message)
        self.signal = signal
