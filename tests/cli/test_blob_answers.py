"""Errors of the blob wire in plain words: they are XML."""

from __future__ import annotations

import pytest

from headrace.blob_answers import good
from headrace.errors import ApiError, parts
from headrace.http_client import Answer
from headrace_services.control.blobs.xml import error_xml

FULL = error_xml("InsufficientStorage", "there is no disk space left for <this> upload").encode()
CODE = {"x-ms-error-code": "InsufficientStorage"}
ARM = b'{"error": {"code": "Forbidden", "message": "not yours"}}'
HINT = "hint: free disk space where the platform's home is, then try again"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            Answer(status=507, headers=CODE, body=FULL),
            "error: there is no disk space left for <this> upload   [InsufficientStorage]\n  "
            + HINT,
        ),
        (
            Answer(status=404, headers={"x-ms-error-code": "BlobNotFound"}, body=b""),
            "error: HTTP 404   [BlobNotFound]",
        ),
        (
            Answer(status=400, headers=CODE, body=b"<Error"),
            "error: HTTP 400   [InsufficientStorage]",
        ),
        (Answer(status=403, headers={}, body=ARM), "error: not yours   [Forbidden]"),
    ],
)
def test_an_error_is_told_without_its_xml(answer: Answer, told: str) -> None:
    with pytest.raises(ApiError) as raised:
        good(answer)
    assert parts(raised.value) == told


def test_any_other_answer_is_passed_on() -> None:
    answer = Answer(status=201, headers={}, body=b"")
    assert good(answer) is answer
