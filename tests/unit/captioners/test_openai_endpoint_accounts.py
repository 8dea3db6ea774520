"""Limits, bills, budgets and keys of the endpoint captioner, by the books of a real server."""

import json
import logging
import pickle
from pathlib import Path
from typing import Any

import pytest

from orchestrator.captioners.protocol import Visit
from orchestrator.errors import ConfigError, OrchestratorError
from tests.endpoint_server import (
    answering,
    body_of,
    echo_key,
    expected,
    picture,
    status,
    visits,
)

SECRET = "sk-live-0123456789-very-secret"  # pragma: allowlist secret


def test_no_more_requests_are_in_flight_than_allowed_and_all_of_these_are_used(server: Any, ask: Any) -> None:
    server.pause_s = 0.1
    asked = [Visit(picture(i), (f"a{i}", f"b{i}")) for i in range(9)]
    assert ask(concurrency=3).caption(asked) == expected(asked)
    assert server.most_at_once == 3


def test_the_request_rate_is_kept_over_several_calls(server: Any, ask: Any) -> None:
    captioner = ask(requests_per_minute=1200, concurrency=50)  # 20 a second, and 20 saved up at the start
    for _ in range(4):
        captioner.caption(visits(10))
    arrived = [asked.arrived_s for asked in server.asked]
    assert len(arrived) == 40
    assert max(arrived) - min(arrived) >= 0.7  # 40 - 20 take a second; the first ones may have been slow to arrive


def test_the_token_rate_is_kept_by_what_the_server_reports(server: Any, ask: Any) -> None:
    captioner = ask(tokens_per_minute=60 * 60, concurrency=4)  # 60 a second; an answer has 12 + 5
    captioner._expected.add(17)
    captioner.caption(visits(8))
    arrived = [asked.arrived_s for asked in server.asked]
    assert max(arrived) - min(arrived) >= 0.6  # 8 * 17 - 60 - 17 tokens take a second


def test_tokens_and_cost_are_those_on_the_servers_bill(server: Any, ask: Any) -> None:
    server.misbehave = {
        "prompt 1": [status(500)],
        "prompt 2": [answering(finish_reason="content_filter")],
        "prompt 3": [status(400)],
    }
    captioner = ask(usd_per_million_prompt_tokens=2.5, usd_per_million_completion_tokens=10)
    captioner.caption(visits(7))
    captioner.caption([Visit(None, ("just a text of several words",))])
    counts, billed = captioner.usage.counts, server.billed
    assert counts["prompt_tokens"] == billed["prompt_tokens"] > 0
    assert counts["completion_tokens"] == billed["completion_tokens"] > 0
    assert counts["forwards"] == billed["answers"] == 7
    assert counts["images_encoded"] == 6
    cost = (2.5 * billed["prompt_tokens"] + 10 * billed["completion_tokens"]) / 1e6
    assert counts["cost_usd"] == pytest.approx(cost)


def test_the_budget_is_not_exceeded_and_what_it_does_not_cover_is_left_to_another_run(server: Any, ask: Any) -> None:
    one = 12 + 5  # tokens of one answer
    captioner = ask(
        usd_per_million_prompt_tokens=1e6, usd_per_million_completion_tokens=1e6, max_cost_usd=5 * one, concurrency=1
    )
    asked = visits(8)
    answers = captioner.caption(asked)
    assert answers[:5] == expected(asked[:5])
    assert [(answer.error_class, answer.transient) for (answer,) in answers[5:]] == [("BudgetSpent", True)] * 3
    assert captioner.caption(visits(1))[0][0].error_class == "BudgetSpent"
    assert len(server.asked) == 5
    assert captioner.usage.counts["cost_usd"] == 5 * one


def test_a_budget_at_an_endpoint_that_reports_no_tokens_stops_the_run(server: Any, ask: Any) -> None:
    server.reports_usage = False
    captioner = ask(usd_per_million_prompt_tokens=1, max_cost_usd=1, concurrency=1)
    with pytest.raises(OrchestratorError, match="does not report the tokens"):
        captioner.caption(visits(4))
    assert len(server.asked) == 1
    asked = visits(2)
    assert ask().caption(asked) == expected(asked)


def test_proxies_of_the_environment_are_not_used_for_this_machine(server: Any, ask: Any, monkeypatch: Any) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    asked = visits(2)
    assert ask(max_retries=0).caption(asked) == expected(asked)


def test_the_key_is_sent_and_the_environments_own_openai_settings_are_not(
    server: Any, ask: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-service")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-another-service")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Other: of-another-service")
    (tmp_path / "key").write_text(f"{SECRET}\n")
    ask().caption(visits(1))
    ask(api_key_file=str(tmp_path / "key")).caption(visits(1))
    monkeypatch.setenv("MY_KEY", SECRET)
    ask(api_key_env="MY_KEY").caption(visits(1))
    assert [asked.headers.get("authorization") for asked in server.asked] == [None, *[f"Bearer {SECRET}"] * 2]
    assert "another-service" not in json.dumps([asked.headers for asked in server.asked])


def test_the_key_is_in_no_log_error_refusal_or_printed_form(
    server: Any, ask: Any, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MY_KEY", SECRET)
    server.misbehave = {
        "prompt 0": [echo_key(500)] * 2,
        "prompt 1": [echo_key(400)],
        "prompt 2": [body_of(SECRET.encode())] * 2,
        "prompt 3": [echo_key(401)],
    }
    captioner = ask(api_key_env="MY_KEY", max_retries=1, concurrency=1)
    told = [repr(captioner), repr(vars(captioner)).replace(repr(captioner._secret), ""), repr(captioner._settings)]
    with pytest.raises(OrchestratorError) as caught:
        captioner.caption(visits(4))
    told += [str(caught.value), repr(caught.value), repr(pickle.loads(pickle.dumps(caught.value)))]
    server.misbehave = {"prompt 0": [echo_key(500)] * 2, "prompt 1": [echo_key(400)]}
    told.append(repr(ask(api_key_env="MY_KEY", max_retries=1).caption(visits(2))))
    told += [json.dumps(captioner._settings.identity()), captioner._settings.model_dump_json(), caplog.text]
    assert "Incorrect API key provided: Bearer ***" in "".join(told)
    assert SECRET not in "".join(told)


@pytest.mark.parametrize("key", ["", "two words", "with\nnewline", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_an_error_that_does_not_show_it(key: str, ask: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(ConfigError, match="MY_KEY holds no key") as caught:
        ask(api_key_env="MY_KEY")
    assert not key or key not in str(caught.value)


def test_a_missing_key_is_an_error_before_any_request(server: Any, ask: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="NOT_SET_ANYWHERE holds no key"):
        ask(api_key_env="NOT_SET_ANYWHERE")
    with pytest.raises(ConfigError, match="no-such-file holds no key"):
        ask(api_key_file=str(tmp_path / "no-such-file"))
    assert server.asked == []
