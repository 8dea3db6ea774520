"""The experiment: what is made. It has identity; where and how it runs (the execution) has none.

Holds settings and what is derived from them. Reads and writes nothing.
"""

from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from orchestrator.captioners import CaptionerSettings
from orchestrator.captioners.prompts import resolve_prompts
from orchestrator.captioners.texts import CaptionText, TextSettings
from orchestrator.datasets import DatasetSettings
from orchestrator.errors import ConfigError
from orchestrator.frozen import Frozen
from orchestrator.losses import LossSettings
from orchestrator.students import StudentSettings
from orchestrator.students.adaptor import AdaptorSettings
from orchestrator.teachers import EncoderSettings
from orchestrator.training.settings import TrainingSettings

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,63}$"
Override = str | int | float | bool | None | list[str]


class SweepReference(Frozen):
    """Which search space to run, and for which arm; the arm is then trained with the best values found."""

    space: str = Field(description="path of a search space, relative to the working directory")
    arm: str


class Experiment(Frozen):
    """One experiment sheet, `jobs/experiments/*.yaml`.

    `texts` is the catalogue of text sources that are embedded; `text_sources` names those the text loss reads.
    `arms` are variants of this very experiment, each a mapping of dotted paths to values; the first one is the baseline
    of the report.
    """

    name: str = Field(pattern=NAME_PATTERN)
    description: str = ""
    dataset: DatasetSettings
    captioner: CaptionerSettings
    prompts: tuple[str, ...] = ("general",)
    custom_prompts: dict[str, str] = Field(default_factory=dict)
    caption_splits: tuple[str, ...] = ("train",)
    texts: dict[str, TextSettings] = Field(default_factory=dict)
    text_sources: tuple[str, ...] = ()
    text_encoder: EncoderSettings
    image_teacher: EncoderSettings | None = None
    image_size: int = Field(default=64, ge=16, le=1024, description="side of the student's images, pixels")
    student: StudentSettings
    adaptor: AdaptorSettings = AdaptorSettings()
    losses: dict[str, LossSettings]
    training: TrainingSettings = TrainingSettings()
    arms: dict[str, dict[str, Override]] = Field(default={"distilled": {}})
    sweep: SweepReference | None = None

    @field_validator("losses", mode="before")
    @classmethod
    def _null_removes_a_loss(cls, value: Any) -> Any:
        return {name: loss for name, loss in value.items() if loss is not None} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _references_hold(self) -> Self:
        problems = []
        try:
            resolve_prompts(self.prompts, self.custom_prompts)
        except ConfigError as error:
            problems.append(str(error))
        for name, text in self.texts.items():
            if isinstance(text, CaptionText) and text.prompt not in self.prompts:
                problems.append(f"texts.{name}.prompt: {text.prompt} is not among prompts ({', '.join(self.prompts)})")
        for name in self.text_sources:
            if name not in self.texts:
                problems.append(f"text_sources: {name} is not among texts ({', '.join(self.texts)})")
        if "text" in {loss.kind.split("_")[0] for loss in self.losses.values()} and not self.text_sources:
            problems.append("text_sources: a text loss is on, but no text source is named")
        if not self.losses:
            problems.append("losses: there is none")
        if not self.arms:
            problems.append("arms: there is none")
        if self.sweep is not None and self.sweep.arm not in self.arms:
            problems.append(f"sweep.arm: {self.sweep.arm} is not among arms ({', '.join(self.arms)})")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def prompt_texts(self) -> dict[str, str]:
        """Prompt name -> text with {class} still in it."""
        return resolve_prompts(self.prompts, self.custom_prompts)
