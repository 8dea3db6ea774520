"""The endpoint captioner against a real server that misbehaves in every way we could think of."""

import time
from email.utils import formatdate
from typing import Any

import pytest

from orchestrator.captioners.endpoint.client import REJECTIONS_BEFORE_STOP
from orchestrator.captioners.protocol import Refusal
from orchestrator.errors import OrchestratorError
from tests.endpoint_server import (
    answer_to,
    answering,
    body_of,
    expected,
    hang,
    hang_up,
    picture,
    status,
    trickle,
    visits,
)


@pytest.mark.parametrize(
    "fault",
    [status(500), status(503, retry_after="0"), status(429), status(408), status(409), hang_up, body_of(b"{not json"),
     body_of(b'{"choices": []}'), body_of(b'{"error": {"message": "upstream died", "code": 502}}')],
    ids=["500", "503", "429", "408", "409", "hang up", "no json", "no choices", "error with 200"],
)  # fmt: skip
def test_a_passing_fault_is_asked_again_and_costs_no_other_row(fault: Any, server: Any, ask: Any) -> None:
    server.misbehave["prompt 1"] = [fault, fault]
    captioner, asked = ask(), visits(4)
    assert captioner.caption(asked) == expected(asked)
    assert [server.count(f"prompt {i}") for i in range(4)] == [1, 3, 1, 1]
    assert captioner.usage.counts["retries"] == 2
    assert captioner.usage.counts["forwards"] == 4


@pytest.mark.parametrize(
    ("fault", "name"),
    [(status(500), "ServerError"), (status(429), "RateLimited"), (hang, "Timeout"), (trickle, "Timeout"),
     (hang_up, "RemoteProtocolError"), (body_of(b"{not json"), "MalformedReply")],
    ids=["500", "429", "hang", "trickle", "hang up", "no json"],
)  # fmt: skip
def test_a_lasting_fault_ends_in_a_refusal_that_the_next_run_asks_again(
    fault: Any, name: str, server: Any, ask: Any
) -> None:
    server.misbehave["prompt 2"] = [fault] * 10
    captioner, asked = ask(max_retries=2, timeout_s=1.0), visits(4)
    answers = captioner.caption(asked)
    refusal = answers[2][0]
    assert isinstance(refusal, Refusal)
    assert (refusal.error_class, refusal.transient) == (name, True)
    assert answers[:2] + answers[3:] == expected(asked[:2] + asked[3:])
    assert server.count("prompt 2") == 3


def test_a_server_that_is_gone_is_a_transient_refusal_for_each_prompt(ask: Any) -> None:
    captioner = ask(base_url="http://127.0.0.1:9/v1", max_retries=1)
    answers = captioner.caption(visits(3))
    assert [(a.error_class, a.transient) for (a,) in answers] == [("ConnectError", True)] * 3
    assert captioner.usage.counts == {"retries": 3}


@pytest.mark.parametrize("code", [400, 413, 422])
def test_a_bad_request_is_refused_for_good_after_one_attempt_and_costs_no_other_row(
    code: int, server: Any, ask: Any
) -> None:
    server.misbehave["prompt 0"] = [status(code, "cannot decode the image")]
    asked = visits(5)
    answers = ask().caption(asked)
    assert isinstance(answers[0][0], Refusal)
    assert not answers[0][0].transient
    assert "cannot decode the image" in answers[0][0].message
    assert answers[1:] == expected(asked[1:])
    assert server.count("prompt 0") == 1


def test_filtered_refused_empty_and_cut_answers_are_told_apart_and_all_are_paid(server: Any, ask: Any) -> None:
    server.misbehave = {
        "prompt 0": [answering(finish_reason="content_filter", message={"content": "half a"})],
        "prompt 1": [status(400, "filtered", error_code="content_filter")],
        "prompt 2": [answering(message={"content": None, "refusal": "I would rather not"})],
        "prompt 3": [answering(message={"content": "  \n"})],
        "prompt 4": [answering(finish_reason="length", message={"content": "a long, long"})],
    }
    captioner = ask()
    answers = [answer for (answer,) in captioner.caption(visits(6))]
    assert [getattr(answer, "error_class", answer) for answer in answers[:5]] == [
        "ContentFilter", "ContentFilter", "ModelRefusal", "", "a long, long",
    ]  # fmt: skip
    assert not any(answer.transient for answer in answers[:3])
    assert answers[5] == answer_to("prompt 5", picture(5))
    assert captioner.usage.counts["cut_at_length"] == 1
    assert captioner.usage.counts["forwards"] == server.billed["answers"] == 5


@pytest.mark.parametrize("code", [401, 402, 403, 404, 307])
def test_a_wrong_key_or_address_stops_the_run_and_no_further_request_is_sent(code: int, server: Any, ask: Any) -> None:
    server.everyone = [status(code, "go away", location="http://elsewhere.invalid/")] * 100
    captioner = ask(concurrency=2)
    with pytest.raises(OrchestratorError, match=f"HTTP {code}: go away") as caught:
        captioner.caption(visits(20))
    assert caught.value.remedy
    assert len(server.asked) <= 2
    sent = len(server.asked)
    with pytest.raises(OrchestratorError, match="go away"):
        captioner.caption(visits(1))
    assert len(server.asked) == sent


def test_answers_paid_before_the_key_was_withdrawn_are_returned_and_the_next_call_raises(server: Any, ask: Any) -> None:
    server.misbehave["prompt 3"] = [status(401, "expired")]
    captioner, asked = ask(concurrency=1), visits(6)
    answers = captioner.caption(asked)
    assert answers[:3] == expected(asked[:3])
    assert [(answer.error_class, answer.transient) for (answer,) in answers[3:]] == [("NotAsked", True)] * 3
    assert len(server.asked) == 4
    with pytest.raises(OrchestratorError, match="expired"):
        captioner.caption(asked[3:])


def test_an_endpoint_that_rejects_everything_stops_the_run_before_a_data_set_is_quarantined(
    server: Any, ask: Any
) -> None:
    server.everyone = [status(400, "temperature is not supported")] * 100
    with pytest.raises(OrchestratorError, match="temperature is not supported"):
        ask(concurrency=1).caption(visits(REJECTIONS_BEFORE_STOP + 5))
    assert len(server.asked) == REJECTIONS_BEFORE_STOP


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_waited_for_in_both_of_its_forms(form: str, server: Any, ask: Any) -> None:
    open_from_s = int(time.time()) + 2  # a date has whole seconds
    told = {"seconds": str(open_from_s - time.time()), "date": formatdate(open_from_s, usegmt=True)}

    def not_yet(handler: Any) -> None:
        if time.time() < open_from_s:
            server.misbehave["prompt 0"].append(not_yet)
            status(429, "not yet", retry_after=told[form])(handler)
        else:
            answering()(handler)

    server.misbehave["prompt 0"] = [not_yet]
    asked = visits(1)
    assert ask(max_retries=1).caption(asked) == expected(asked)  # without the wait, the second attempt is the last
    assert server.count("prompt 0") == 2


def test_a_rate_limit_told_to_one_request_holds_back_those_that_follow(server: Any, ask: Any) -> None:
    server.misbehave["prompt 0"] = [status(429, retry_after="1")]
    captioner = ask(concurrency=2, max_retries=1)
    server.pause_s = 0.05
    asked = visits(6)
    assert captioner.caption(asked) == expected(asked)
    refused_s = next(asked.arrived_s for asked in server.asked if asked.prompt == "prompt 0")
    early = [asked for asked in server.asked if asked.arrived_s < refused_s + 1.0]
    assert len(early) <= 4  # two in flight, and at most two that set off before the reply was read


def test_a_server_that_wants_more_patience_than_we_have_is_not_waited_for(server: Any, ask: Any) -> None:
    server.everyone = [status(429, "daily quota", retry_after="86400")] * 10
    ((answer,),) = ask(max_retry_after_s=60).caption(visits(1))
    assert (answer.error_class, answer.transient) == ("RateLimited", True)
    assert len(server.asked) == 1
