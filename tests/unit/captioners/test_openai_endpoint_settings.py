"""The endpoint captioner's settings: identity, safe addresses, keys that stay out of sight, shared limits."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.captioners.openai_endpoint import OpenAIEndpointSettings
from orchestrator.config.experiment import Experiment
from orchestrator.config.load import read_yaml, validate
from orchestrator.errors import ConfigError

SHEET = Path(__file__).resolve().parents[3] / "jobs" / "experiments" / "smoke.yaml"
GIVEN: dict[str, Any] = {"base_url": "https://host.example/v1", "model": "org/vlm", "declared_version": "2026-01-01"}
SECRET = "sk-live-0123456789-very-secret"  # pragma: allowlist secret


@pytest.mark.parametrize(
    "change",
    [{"model": "org/other"}, {"declared_version": "2"}, {"max_new_tokens": 65}, {"temperature": 0.1},
     {"temperature": None}, {"seed": 0}, {"extra_body": {"top_p": 0.5}}, {"token_limit_field": "max_completion_tokens"},
     {"image_format": "jpeg"}, {"max_side": 512}, {"image_detail": "high"}],
)  # fmt: skip
def test_what_may_change_an_answer_changes_the_identity(change: dict[str, Any]) -> None:
    assert OpenAIEndpointSettings(**(GIVEN | change)).identity() != OpenAIEndpointSettings(**GIVEN).identity()


@pytest.mark.parametrize(
    "change",
    [{"base_url": "https://mirror.example/v1"}, {"api_key_env": "KEY"}, {"api_key_file": "key"}, {"concurrency": 99},
     {"requests_per_minute": 5}, {"tokens_per_minute": 5}, {"timeout_s": 5}, {"max_retries": 0}, {"backoff_s": 9},
     {"max_retry_after_s": 9}, {"usd_per_million_prompt_tokens": 5, "max_cost_usd": 1}, {"jpeg_quality": 10},
     {"usd_per_million_completion_tokens": 5}, {"allow_plain_http": True}],
)  # fmt: skip
def test_what_changes_no_answer_is_not_in_the_identity(change: dict[str, Any]) -> None:
    assert OpenAIEndpointSettings(**(GIVEN | change)).identity() == OpenAIEndpointSettings(**GIVEN).identity()


def test_jpeg_quality_counts_for_jpeg() -> None:
    jpeg = GIVEN | {"image_format": "jpeg"}
    assert OpenAIEndpointSettings(**jpeg, jpeg_quality=50).identity() != OpenAIEndpointSettings(**jpeg).identity()


@pytest.mark.parametrize(
    ("change", "told"),
    [({"base_url": "ftp://host/v1"}, "expected http"), ({"base_url": "host/v1"}, "expected http"),
     ({"base_url": f"https://me:{SECRET}@host/v1"}, "no user, password"),
     ({"base_url": f"https://host/v1?key={SECRET}"}, "no user, password"),
     ({"api_key_env": SECRET}, "not the key itself"), ({"api_key_env": "A", "api_key_file": "b"}, "give one of them"),
     ({"base_url": "http://host.example/v1", "api_key_env": "KEY"}, "unencrypted"),
     ({"base_url": "http://10.0.0.5/v1", "api_key_file": "key"}, "unencrypted"),
     ({"extra_body": {"stream": True}}, "stream have settings of their own"),
     ({"max_cost_usd": 5}, "a budget needs"), ({"api_key": SECRET}, "(?i)extra|unknown")],
)  # fmt: skip
def test_unsafe_settings_are_refused_and_a_misplaced_key_is_not_shown(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told) as caught:
        OpenAIEndpointSettings(**(GIVEN | change))
    assert SECRET not in str(caught.value)
    sheet = read_yaml(SHEET) | {"captioner": GIVEN | change | {"kind": "openai"}}
    with pytest.raises(ConfigError, match=told) as refused:
        validate(Experiment, sheet, "sheet")
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "[::1]:8000", "127.9.9.9"])
def test_plain_http_with_a_key_is_fine_on_this_machine_and_elsewhere_only_if_asked_for(host: str) -> None:
    assert OpenAIEndpointSettings(**(GIVEN | {"base_url": f"http://{host}/v1", "api_key_env": "KEY"})).is_loopback
    away = GIVEN | {"base_url": "http://host.example/v1"}
    assert not OpenAIEndpointSettings(**away).is_loopback
    assert OpenAIEndpointSettings(**away, api_key_env="KEY", allow_plain_http=True).has_key


def test_limits_and_budget_are_divided_among_the_captioners_that_share_them() -> None:
    settings = OpenAIEndpointSettings(
        **GIVEN, requests_per_minute=100, max_cost_usd=8, usd_per_million_prompt_tokens=1, concurrency=6
    )
    shared = settings.shared_by(4)
    assert (shared.requests_per_minute, shared.tokens_per_minute, shared.max_cost_usd) == (25, None, 2)
    assert shared.concurrency == 6
    assert shared.identity() == settings.identity()
    assert settings.shared_by(1) == settings


def test_the_label_is_a_folder_name() -> None:
    assert OpenAIEndpointSettings(**(GIVEN | {"model": "org/V LM:4o?"})).label() == "V-LM-4o-"
