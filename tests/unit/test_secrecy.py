"""What looks like a secret is refused as a setting and hidden in every text; what does not is left alone."""

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from orchestrator.cli_errors import tell_unforeseen
from orchestrator.config.load import load_execution, load_experiment, parse_overrides, read_yaml
from orchestrator.errors import ConfigError, DataError, OrchestratorError
from orchestrator.secrecy import redacted, redacted_tree, secret_in
from orchestrator.tracking import SpoolTracker, ui_command

# Put together here, so that no scanner takes them for real ones.
PASSWORD = "hunter" + "2hunter2"  # pragma: allowlist secret
KEY = "sk-" + "a1B2" * 8
SECRETS = [
    ("captioner.api_key", PASSWORD),
    ("tracking.password", PASSWORD),
    ("store.hf_token", PASSWORD),
    ("tracking.uri", f"postgresql://ann:{PASSWORD}@db.example/mlflow"),
    ("dataset.root", f"s3://bucket/x?secret_access_key={PASSWORD}&region=eu"),
    ("description", f"made with {KEY}"),
    ("name", "AKIA" + "A" * 16),
    ("name", "hf_" + "x" * 34),
]
INNOCENT = [
    ("captioner.max_new_tokens", "64"),
    ("captioner.api_key_env", "OPENAI_API_KEY"),
    ("captioner.api_key_file", "keys/endpoint"),
    ("captioner.token_limit_field", "max_completion_tokens"),
    ("dataset.root", "s3://bucket/tokens?region=eu-central-1"),
    ("tracking.uri", "http://127.0.0.1:5000"),
    ("description", "what does a token cost? 12:30@noon"),
    ("name", "sk-learn"),
]


@pytest.fixture
def smoke(project: Path) -> Path:
    return project / "jobs" / "experiments" / "smoke.yaml"


@pytest.mark.parametrize(("name", "value"), SECRETS)
def test_a_secret_is_known_and_hidden(name: str, value: str) -> None:
    assert secret_in(name, value) is not None
    shown = json.dumps([redacted(f"error at {name}={value} in line 3"), redacted_tree({name: value})])
    assert not any(secret in shown for secret in (PASSWORD, KEY, "AKIA", "hf_x"))
    assert "in line 3" in shown


@pytest.mark.parametrize(("name", "value"), INNOCENT)
def test_what_is_no_secret_is_left_alone(name: str, value: str) -> None:
    assert secret_in(name, value) is None
    assert redacted(f"{name}={value}") == f"{name}={value}"


@pytest.mark.parametrize("override", [f"{name}={value}" for name, value in SECRETS])
def test_a_secret_in_an_override_is_refused_and_not_repeated(smoke: Path, override: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment(smoke, [override])
    told = str(caught.value)
    assert override.split("=")[0] in told
    assert "name an environment variable or a file instead" in told
    assert not any(secret in told for secret in (PASSWORD, KEY, "AKIA", "hf_x"))


def test_a_secret_in_a_sheet_is_refused_wherever_it_stands(tmp_path: Path, smoke: Path, project: Path) -> None:
    tree = yaml.safe_load(smoke.read_text())
    tree["arms"] = {**tree.get("arms", {}), "one": {"captioner.api_key": PASSWORD}}
    path = tmp_path / "sheet.yaml"
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match=r"arms\.one\.captioner\.api_key: looks like a secret") as caught:
        load_experiment(path)
    assert PASSWORD not in str(caught.value)
    with pytest.raises(ConfigError, match=r"tracking\.uri: is an address with a password"):
        load_execution(project / "jobs" / "executions" / "laptop.yaml", [f"tracking.uri=http://a:{PASSWORD}@h"])


@pytest.mark.parametrize("argument", [f"api_key=[{PASSWORD}", f"--token={PASSWORD}", f"http://a:{PASSWORD}@h"])
def test_an_override_that_cannot_be_read_does_not_tell_its_secret(smoke: Path, argument: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment(smoke, [argument])
    assert PASSWORD not in str(caught.value)


def test_no_error_of_ours_holds_a_secret_however_it_came_there() -> None:
    error = OrchestratorError(f"cannot reach http://ann:{PASSWORD}@host", remedy=f"do not set token={PASSWORD}")
    assert PASSWORD not in f"{error} {error.wrong} {error.remedy} {error!r}"
    assert "http://ann:***@host" in str(error)


def test_the_traceback_of_an_error_that_nobody_foresaw_is_kept_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(RuntimeError) as caught:
        raise RuntimeError(f"GET https://me:{PASSWORD}@host/ failed with Authorization: Bearer {KEY}")
    with pytest.raises(SystemExit):
        tell_unforeseen(caught.value)
    (kept,) = tmp_path.glob("orchestrator-error-*.txt")
    for text in (kept.read_text(), capsys.readouterr().err):
        assert "RuntimeError" in text
        assert PASSWORD not in text
        assert KEY not in text


def test_tags_parameters_and_reasons_reach_the_tracker_without_secrets(tmp_path: Path) -> None:
    tracker = SpoolTracker(tmp_path)
    address = f"http://ann:{PASSWORD}@host"
    tracker.start_run("r", name="r", params={"a": {"api_key": PASSWORD, "b": address}}, tags={"source": address})
    tracker.set_tags("r", {"token": PASSWORD, "kind": "run"})
    tracker.end_run("r", "FAILED", f"no answer from {address}")
    (file,) = tmp_path.glob("*.jsonl")
    assert PASSWORD not in file.read_text()
    assert '"kind":"run"' in file.read_text()
    assert PASSWORD not in ui_command(address)


def test_hiding_takes_time_in_proportion_to_the_text() -> None:
    """A pattern that looks back from each character would take minutes for these."""
    for text in ("9" * 200_000, "a.b-" * 50_000, "://" * 70_000, "token" * 40_000, "x=" * 100_000, "eyJ" * 70_000):
        assert len(redacted(text)) > 0


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch pwned']",
        "a: !!python/name:os.system",
        "a: !!python/object/new:tuple [[1]]",
        "? [a, b]\n: 1",
        "a: &a [*a]",
        "[" * 3_000,
        "a: 9" + "9" * 5000,
        "\n".join(["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10))]),
    ],
    ids=["call", "name", "object", "key", "circle", "deep", "number", "billion laughs"],
)
def test_a_sheet_made_to_run_code_or_to_exhaust_us_is_refused(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sheet.yaml").write_text(text)
    with pytest.raises(ConfigError, match="not YAML"):
        read_yaml(tmp_path / "sheet.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.yaml"]


def test_a_tag_in_an_override_is_refused() -> None:
    with pytest.raises(ConfigError, match="no YAML"):
        parse_overrides(["name=!!python/object/apply:os.getcwd []"])


def test_a_message_of_a_decoder_is_hidden_as_well() -> None:
    assert PASSWORD not in str(DataError(f"cannot be decoded: secret={PASSWORD}"))


def rows(page: str) -> Iterator[tuple[str, str]]:
    yield from re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)


def test_every_attack_of_the_security_page_names_a_test_that_exists(project: Path) -> None:
    named = list(rows((project / "SECURITY.md").read_text(encoding="utf-8")))
    assert len(named) >= 12
    for file, name in named:
        assert re.search(rf"^def {name}\(", (project / file).read_text(encoding="utf-8"), re.MULTILINE), (file, name)
