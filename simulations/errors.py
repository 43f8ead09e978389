"""Errors of the simulation."""

from engine.errors import VitaNexusError


class SpecError(VitaNexusError):
    """A scenario or its data cannot be simulated. Correct the named field (and row) and submit it again.

    `path` is the field's path in the scenario file or the column and row of the portfolio.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


class CancelledError(VitaNexusError):
    """The job was cancelled. What it had finished is in its checkpoint; submit it again to go on from there."""
