"""What single replies mean, from their bytes."""

import json
from email.utils import formatdate

import pytest

from orchestrator.captioners.endpoint.replies import MAX_QUOTED, read_reply, retry_after_s
from orchestrator.captioners.protocol import Refusal
from orchestrator.errors import OrchestratorError


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("0.25", 0.25), ("-3", 0.0), (formatdate(1000, usegmt=True), 60.0),
     (formatdate(900, usegmt=True), 0.0), ("soon", None), ("nan", None), ("", None)],
)  # fmt: skip
def test_retry_after_is_a_number_of_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after_s({"retry-after": value}, now_unix_s=940.0) == seconds


def test_no_retry_after_is_none() -> None:
    assert retry_after_s({}, now_unix_s=0.0) is None


@pytest.mark.parametrize("code", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_overload_and_server_errors_are_asked_again(code: int) -> None:
    reply = read_reply(code, {"retry-after": "2"}, b"busy", 0.0)
    assert (reply.again, reply.wait_s, reply.is_rate_limit) == (True, 2.0, code == 429)
    assert isinstance(reply.answer, Refusal)
    assert reply.answer.transient
    assert "busy" in reply.answer.message


@pytest.mark.parametrize("code", [400, 413, 415, 422])
def test_a_request_that_is_refused_for_itself_is_not_asked_again(code: int) -> None:
    reply = read_reply(code, {}, b'{"error": {"message": "bad\\n image"}}', 0.0)
    assert not reply.again
    assert reply.answer == Refusal("TooLarge" if code == 413 else "Rejected", f"HTTP {code}: bad image")


@pytest.mark.parametrize(
    "error",
    [{"code": "content_filter"}, {"code": None, "type": "content_policy_violation"},
     {"code": "bad_request", "innererror": {"code": "ResponsibleAIPolicyViolation"}}],
)  # fmt: skip
@pytest.mark.parametrize("code", [400, 403])
def test_a_content_filter_refuses_one_image_for_good_whatever_its_status(code: int, error: dict[str, object]) -> None:
    reply = read_reply(code, {}, json.dumps({"error": error | {"message": "no"}}).encode(), 0.0)
    assert reply.answer == Refusal("ContentFilter", f"HTTP {code}: no")


@pytest.mark.parametrize(
    ("code", "error_code"),
    [(401, None), (402, None), (403, None), (404, None), (308, None), (429, "insufficient_quota")],
)
def test_what_every_request_would_meet_stops_the_run_with_a_remedy(code: int, error_code: str | None) -> None:
    body = json.dumps({"error": {"message": "go away", "code": error_code}}).encode()
    with pytest.raises(OrchestratorError, match=f"HTTP {code}: go away") as caught:
        read_reply(code, {}, body, 0.0)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"{}", b'{"choices": []}', b'{"choices": [{}]}',
     b'{"choices": [{"message": {"content": 3}}]}', b'{"error": {"message": "upstream", "code": 502}}', b"\xff\xfe"],
)  # fmt: skip
def test_a_200_without_a_completion_is_asked_again(body: bytes) -> None:
    reply = read_reply(200, {}, body, 0.0)
    assert reply.again
    assert not reply.is_answer
    assert isinstance(reply.answer, Refusal)
    assert (reply.answer.error_class, reply.answer.transient) == ("MalformedReply", True)


@pytest.mark.parametrize("body", [b'{"error": "plain words"}', b'{"message": "plain words"}', b"plain\n words"])
def test_the_servers_own_words_are_found_in_every_form_of_error(body: bytes) -> None:
    assert read_reply(400, {}, body, 0.0).answer == Refusal("Rejected", "HTTP 400: plain words")


def test_the_servers_words_are_quoted_to_a_limit() -> None:
    answer = read_reply(500, {}, b"x" * 100_000, 0.0).answer
    assert isinstance(answer, Refusal)
    assert len(answer.message) == len("HTTP 500: ") + MAX_QUOTED


def test_no_content_is_an_empty_text_and_a_models_own_refusal_is_a_refusal() -> None:
    empty = {"choices": [{"message": {"content": None}, "finish_reason": "stop"}]}
    assert read_reply(200, {}, json.dumps(empty).encode(), 0.0).answer == ""
    refusal = {"choices": [{"message": {"content": None, "refusal": "I will not"}, "finish_reason": "stop"}]}
    assert read_reply(200, {}, json.dumps(refusal).encode(), 0.0).answer == Refusal("ModelRefusal", "I will not")
