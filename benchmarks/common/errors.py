"""What is wrong with somebody's data: told in one line that names the file."""


class DataError(Exception):
    """The dataset cannot be used; the message names the file or folder and says why."""
