"""Errors that a user can fix; `programs.run` shows them in one sentence."""


class UserError(Exception):
    """A mistake that the user can fix: one sentence that says what, where, and how."""


class Interrupted(Exception):
    """A program was asked to stop, and has saved what it had.

    Attributes:
        exit_code: what a shell expects of a program that a signal ended.
    """

    def __init__(self, signal_number: int, message: str):
        super().__init__(message)
        self.exit_code = 128 + signal_number
