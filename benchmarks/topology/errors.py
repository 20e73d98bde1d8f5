"""What a user can put right: told in one line, without a traceback."""


class UsageError(Exception):
    """Something asked for cannot be done; the message says what was asked and what can be."""
