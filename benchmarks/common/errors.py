"""What a user can put right: told in one line, without a traceback."""


class DataError(Exception):
    """The dataset cannot be used; the message names the file or folder and says why."""


class UsageError(Exception):
    """Something asked for cannot be done; the message says what was asked and what can be."""
