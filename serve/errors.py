"""What stops a service, for people."""


class ServeError(Exception):
    """Its text is one line that says what is wrong and what to do."""
