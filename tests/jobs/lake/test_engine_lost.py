"""A Spark that goes away is told in one line, with an exit code that is tried again; other errors stay the same."""

from __future__ import annotations

import pytest
from grpc import StatusCode
from pyspark.errors import PySparkRuntimeError
from pyspark.errors.exceptions.connect import AnalysisException, SparkConnectGrpcException, SparkException

from jobs.errors import EngineLostError, UserError
from jobs.lake.engine import start, told_if_lost

GONE = {
    "nobody answers": SparkConnectGrpcException("failed to connect", grpc_status_code=StatusCode.UNAVAILABLE),
    "a server that was started anew": SparkConnectGrpcException(
        "[INVALID_HANDLE.SESSION_NOT_FOUND] The handle is invalid.", errorClass="INVALID_HANDLE.SESSION_NOT_FOUND"
    ),
    "a server that was started anew in the middle of an answer": PySparkRuntimeError(
        errorClass="RESPONSE_ALREADY_RECEIVED",
        messageParameters={"error_type": "INVALID_HANDLE.SESSION_NOT_FOUND"},
    ),
    "too many executors lost": SparkException(
        "Job aborted due to stage failure: Task 0 failed 4 times, most recent failure: ExecutorLostFailure"
    ),
}


@pytest.mark.parametrize("case", GONE)
def test_a_lost_session_is_worth_another_try(case: str) -> None:
    with pytest.raises(EngineLostError, match="run the step again when Spark is back") as told, told_if_lost():
        raise GONE[case]
    assert told.value.exit_code not in (2, 3)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("error", [AnalysisException("no such column"), UserError("wrong"), ZeroDivisionError()])
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, told_if_lost():
        raise error
    assert raised.value is error


def test_an_address_that_does_not_answer_is_tried_again_and_what_is_none_is_not() -> None:
    with pytest.raises(EngineLostError, match=r"sc://127.0.0.1:1 \(SPARK_REMOTE\) does not answer"):
        start("spark", "sc://127.0.0.1:1")
    for wrong in ("http://127.0.0.1:1", "sc://", "sc://host:many"):
        with pytest.raises(UserError, match="is no address") as told:
            start("spark", wrong)
        assert told.value.exit_code == 2
