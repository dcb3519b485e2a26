"""The error a person can act on."""


class InputError(ValueError):
    """Something the user gave cannot be used: a file, a folder, a config field, a key.

    The message is one line that names the thing, the value found and what to do. Command-line
    programs print it without a traceback and exit with status 1.
    """
