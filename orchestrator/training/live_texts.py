"""What a training learns of texts: built from a job's settings and put into its model.

Reads a text encoder's weights, and the texts of an `embeddings` artifact. Knows nothing of single losses.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from orchestrator import vocabulary as v
from orchestrator.artifacts.embeddings import GROUPS, TEXTS
from orchestrator.artifacts.storage import read_table
from orchestrator.errors import ConfigError
from orchestrator.frozen import Frozen
from orchestrator.teachers.open_clip_encoder import OpenClipSettings
from orchestrator.teachers.transformers_clip import TransformersClipSettings
from orchestrator.training.live_text_settings import ClassPromptSettings, TextTuningSettings

if TYPE_CHECKING:
    from orchestrator.teachers.text_tower import TextTower
    from orchestrator.training.model import DistillationModel

TowerSettings = OpenClipSettings | TransformersClipSettings


class LivePrompts(Frozen):
    """Class prompts to learn: their settings, the image teacher's encoder, and each class's own words, seen first."""

    settings: ClassPromptSettings
    encoder: TowerSettings
    prompts: tuple[str, ...]


class LiveTuning(Frozen):
    """The text encoder to tune."""

    settings: TextTuningSettings
    encoder: TowerSettings


class LiveTexts(Frozen):
    """What a job learns of texts; plain data."""

    class_prompt: LivePrompts | None = None
    text_tuning: LiveTuning | None = None

    def settings(self) -> dict[str, Any]:
        """What determines the student beside its parents; empty where nothing is learnt."""
        parts = {"class_prompt": self.class_prompt, "text_tuning": self.text_tuning}
        return {name: one.settings.model_dump(mode="json") for name, one in parts.items() if one is not None}


def attach(model: "DistillationModel", live: LiveTexts, *, embeddings: Path, num_trained: int, seed: int) -> None:
    """Give the model what it learns of texts. The random numbers of the rest of the training stay as they are.

    Raises:
        ConfigError: no loss would teach it, or the tower or the texts are of a kind that cannot be learnt.
    """
    if (prompts := live.class_prompt) is not None:
        from orchestrator.teachers.prompt_learning import LearntClassText, first_context

        tower, told = _tower(prompts.encoder), prompts.settings
        context = first_context(told.num_context, tower.width, std=told.init_std, seed=seed)
        model.learn_class_text(
            LearntClassText(
                tower, list(prompts.prompts), num_trained=num_trained, context=context,
                classes_per_pass=told.classes_per_pass,
            )
        )  # fmt: skip
        _must_reach(model, v.CLASS_TEXT, "class_prompt")
    if (tuning := live.text_tuning) is not None:
        from orchestrator.teachers.prompt_learning import LiveText

        if (embeddings / GROUPS["texts"]).is_file():
            raise ConfigError(
                "text_tuning: some of the texts are means of several, or drawn vectors",
                expected="text sources with one text for an image, or with one drawn at each step",
            )
        texts = read_table(embeddings / TEXTS, columns=["text"])["text"].to_pylist()
        model.learn_text(LiveText(_tower(tuning.encoder), texts), tuning.settings.learning_rate)
        _must_reach(model, v.TEXT, "text_tuning")


def learnt_class_text(model: "DistillationModel") -> Callable[[], Tensor] | None:
    """What gives the class texts of all classes [C, D] as they are learnt so far; None where they are constants."""
    found: Callable[[], Tensor] | None = getattr(model.class_prompt, "of_all_classes", None)
    return found


def _tower(encoder: TowerSettings) -> "TextTower":
    """The tower in float32; building it draws no random number of the training's."""
    with torch.random.fork_rng():
        return encoder.model_copy(update={"dtype": "float32"}).build_text_tower()


def _must_reach(model: "DistillationModel", name: str, setting: str) -> None:
    if not any(name in loss.learnt and name in loss.inputs() for _, loss in model.objective.named()):
        kinds = {v.CLASS_TEXT: "embedding_cross_entropy, text_hinge, vl_proximity", v.TEXT: "text_contrastive"}
        raise ConfigError(
            f"{setting} is on, and no loss lets a gradient into the {name.replace('_', ' ')}",
            expected=f"a loss of kind {kinds[name]}",
            remedy=f"add one, or remove {setting}",
        )
