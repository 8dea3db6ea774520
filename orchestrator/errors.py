"""Errors a user can cause, in one shape: what is wrong, what was expected, what to do.

Holds the error classes. Knows nothing of who raises or prints them. No message holds a secret that can be recognised:
messages are printed, kept in tables and sent to trackers.
"""

from orchestrator.secrecy import redacted


class OrchestratorError(ValueError):
    """A mistake or condition the user can act on; the message has one to three lines."""

    def __init__(self, wrong: str, *, expected: str = "", remedy: str = "") -> None:
        wrong, expected, remedy = redacted(wrong), redacted(expected), redacted(remedy)
        self.wrong, self.expected, self.remedy = wrong, expected, remedy
        lines = [wrong]
        if expected:
            lines.append(f"  expected: {expected}")
        if remedy:
            lines.append(f"  remedy:   {remedy}")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.wrong, self.expected, self.remedy))


def _rebuild(kind: type[OrchestratorError], wrong: str, expected: str, remedy: str) -> OrchestratorError:
    return kind(wrong, expected=expected, remedy=remedy)


class ConfigError(OrchestratorError):
    """The experiment, execution or search space cannot be used; lists every problem with its path."""


class DataError(OrchestratorError):
    """Images, lists or labels that cannot be used."""


class ArtifactError(OrchestratorError):
    """Something on disk is missing, damaged, or was made with other settings."""


class NonFiniteLossError(OrchestratorError):
    """Training met NaN or infinity; the message names step, loss parts and image ids."""


class OutOfMemoryError(OrchestratorError):
    """A worker cannot hold its share of the batch; the message says what fits and which settings to change."""


EXIT_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: the same command may succeed later


class Stopped(SystemExit):
    """A training stopped because it was told to, with its state on disk; left alone it ends the process with 75."""

    def __init__(self, step: int) -> None:
        super().__init__(EXIT_STOPPED)
        self.told = f"stopped as told after step {step}; the same command goes on from there"

    def __str__(self) -> str:
        return self.told
