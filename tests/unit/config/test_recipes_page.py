"""The page on recipes: its commands resolve to experiments that fit together, and it names every sheet."""

import re
import shlex
from pathlib import Path

import pytest

from orchestrator.config.composition import check_composition
from orchestrator.config.load import load_experiment

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "recipes.md").read_text()
COMMANDS = [
    shlex.split(text.replace("\\\n", " ")) for text in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
]  # fmt: skip
OTHERS = {"demo", "evidence", "pareto_small", "smoke", "tiny_imagenet_lt", "real_images"}  # of no paper's recipe


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[3].removeprefix("name="))
def test_a_command_of_the_page_is_an_experiment_that_fits_together(command: list[str]) -> None:
    assert command[:2] == ["orchestrator", "run"]
    experiment = load_experiment(ROOT / command[2], command[3:])
    assert experiment.name == command[3].removeprefix("name=")
    check_composition(experiment)


def test_every_sheet_of_a_recipe_is_on_the_page() -> None:
    shipped = {path.stem for path in (ROOT / "jobs" / "experiments").glob("*.yaml")} - OTHERS
    assert {name for name in shipped if f"`{name}`" not in PAGE} == set()
