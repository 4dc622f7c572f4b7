"""What can go wrong while servers are started, in one line that says what to do."""


class StackError(Exception):
    """The stack cannot be started, stopped or found; the message is one line and names the remedy."""


class PortTaken(StackError):
    """A port was taken by another program between choosing it and binding it; the start is retried on other ports."""
