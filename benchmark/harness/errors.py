"""What goes wrong in a way that a person can mend: it is printed without a traceback."""


class BenchmarkError(Exception):
    """The run cannot go on, or what it measured is worth nothing."""


class UsageError(Exception):
    """The command line asks for something that is not there."""
