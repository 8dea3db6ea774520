"""The page on data sets: every example on it can be said, every kind has one, and its figures are the product's."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import TypeAdapter

from orchestrator.datasets import DatasetSettings
from orchestrator.datasets.published import PUBLISHED

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "datasets.md").read_text()
EXAMPLES: list[dict[str, Any]] = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
SETTINGS: TypeAdapter[Any] = TypeAdapter(DatasetSettings)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["dataset"]["kind"])
def test_an_example_is_a_data_set(example: dict[str, Any]) -> None:
    assert list(example) == ["dataset"]
    settings = SETTINGS.validate_python(example["dataset"])
    assert SETTINGS.validate_json(settings.model_dump_json()) == settings


def test_every_kind_has_an_example_and_every_option_is_named() -> None:
    shown = {example["dataset"]["kind"] for example in EXAMPLES}
    kinds = get_args(get_args(DatasetSettings)[0])
    assert shown == {kind.model_fields["kind"].default for kind in kinds}
    options = {"long_tail", "ood_split", "published", "strict_counts", "select_fraction", "select_seed", "follow_links"}
    assert [option for option in sorted(options) if f"`{option}" not in PAGE] == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_counts_on_the_page_are_those_that_are_compared(name: str) -> None:
    published = PUBLISHED[name]  # type: ignore[index]
    row = next(line for line in PAGE.splitlines() if line.startswith("| `") and f"`{name}`" in line.split("|")[1])
    numbers = [*published.counts.values(), *filter(None, [published.num_classes, published.total])]
    numbers += published.groups or ()
    if published.ood is not None:
        numbers += [published.ood.num_seen, published.ood.train, published.ood.select, published.ood.unseen]
    assert [number for number in numbers if f"{number:,}" not in row] == []
