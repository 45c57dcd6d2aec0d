"""The error that stops a service."""


class ServeError(Exception):
    """The service cannot run; the text says in one line what is wrong and what to do."""
