"""Every example of docs/encoders.md is a valid setting, and every kind has one."""

import re
from pathlib import Path
from typing import get_args

import yaml
from pydantic import TypeAdapter

from orchestrator.teachers import ImageEncoderSettings, TextEncoderSettings

UNIONS = {"text_encoder": TextEncoderSettings, "image_teacher": ImageEncoderSettings}


def test_the_examples_are_valid_and_every_kind_has_one(project: Path) -> None:
    text = (project / "docs" / "encoders.md").read_text().replace("COMMIT", "a1" * 20)
    kinds = set()
    for block in re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL):
        for place, value in yaml.safe_load(block).items():
            kinds.add(type(TypeAdapter(UNIONS[place]).validate_python(value)))
    assert kinds == {kind for union in UNIONS.values() for kind in get_args(get_args(union)[0])}
