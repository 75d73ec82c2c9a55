"""Errors that dode raises by itself: each says what was given, what was expected and what to do."""


class DodeError(ValueError):
    """Input that dode cannot use; the command line shows its message in one line and ends with exit code 2."""


class NonFinite(DodeError):
    """A network, or a solver's states, reached NaN or infinity; a search passes over such a candidate."""


class CalibrationMismatch(DodeError):
    """A calibration belongs to another network, schedule, guidance scale, shape or number of evaluations."""


class Unsupported(DodeError):
    """What was asked for exists, but this solver, schedule, network or package cannot do it."""
