"""A Spark server that goes away in the middle of a step: told apart from what is wrong with the step itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from jobs.errors import EngineLostError

SAID = ("ExecutorLostFailure", "SparkContext was shut down", "stopped SparkContext")
"""In Spark's words: more executors were lost than it tolerates, or the server ends while it works."""

HALF_ANSWERED = "RESPONSE_ALREADY_RECEIVED"
"""What Spark's client calls a server that was started anew while an answer was on its way."""


def is_lost(error: BaseException) -> bool:
    """Whether an error says that nobody answers any more, or only somebody who does not know the session."""
    from grpc import StatusCode
    from pyspark.errors import PySparkException
    from pyspark.errors.exceptions.connect import SparkConnectGrpcException

    if isinstance(error, PySparkException) and error.getCondition() == HALF_ANSWERED:
        return True
    if not isinstance(error, SparkConnectGrpcException):
        return False
    gone = error.getGrpcStatusCode() == StatusCode.UNAVAILABLE
    unknown = (error.getCondition() or "").startswith("INVALID_HANDLE")
    return gone or unknown or any(words in str(error) for words in SAID)


@contextmanager
def told_if_lost() -> Iterator[None]:
    """Raise EngineLostError, which says what to do, where the server behind the session went away in the block."""
    try:
        yield
    except Exception as error:
        if not is_lost(error):
            raise
        why = str(error).strip().splitlines()[0][:300]
        raise EngineLostError(
            f"Spark went away in the middle of the step ({why}); nothing is half done: run the step again when "
            "Spark is back"
        ) from error
