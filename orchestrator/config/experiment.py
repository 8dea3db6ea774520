"""The experiment: what is made. It has identity; where and how it runs (the execution) has none.

Holds settings and what is derived from them. Reads and writes nothing.
"""

import re
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from orchestrator.captioners import CaptionerSettings
from orchestrator.captioners.prompts import (
    CLASS_FIELD,
    custom_prompt_problems,
    expand_prompts,
    resolve_prompts,
    unknown_prompts,
)
from orchestrator.captioners.quality_thresholds import CaptionThresholds
from orchestrator.captioners.texts import CaptionText, ClassTextSettings, TextSettings, WrittenDescriptionText
from orchestrator.config.arms import shared_by_arms
from orchestrator.config.measurable import unmeasurable
from orchestrator.datasets import DatasetSettings, ListFileSettings
from orchestrator.datasets.framing import Framing
from orchestrator.evaluation.settings import EvaluationSettings
from orchestrator.frozen import Frozen
from orchestrator.losses import LossSettings
from orchestrator.students import StudentSettings
from orchestrator.students.adaptor import AdaptorSettings
from orchestrator.teachers import (
    BothTowers,
    HashedEncoderSettings,
    ImageEncoderSettings,
    TextEncoderSettings,
    TunedEncoderSettings,
)
from orchestrator.training.live_text_settings import ClassPromptSettings, TextTuningSettings
from orchestrator.training.settings import TrainingSettings
from orchestrator.training.tuning_settings import TeacherTuningSettings
from orchestrator.training.watch_settings import WatchSettings

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,63}$"
DEFAULT_OUTPUTS = ("embedding",)
Override = (
    str | int | float | bool | None | list[str] | list[int] | list[float] | dict[str, Any]
)  # a mapping replaces the whole setting


class SweepReference(Frozen):
    """Which search space to run, and for which arm; the arm is then trained with the best values found."""

    space: str = Field(description="path of a search space, relative to the working directory")
    arm: str = Field(description="whose settings the trials vary; its final student takes the best values")


class Experiment(Frozen):
    """One experiment sheet, `jobs/experiments/*.yaml`.

    `name` is its folder below the storage root; `description` stands in the report. `dataset` says where the images
    are, `captioner` who describes them, `text_encoder` and `image_teacher` who embeds texts and images. `student` is
    trained with `losses`, each under a name of your own, whose weighted sum is the objective; `adaptor` leads its
    feature into the text space. `training` is optimiser, schedule, batches and views; `evaluation` what is measured at
    the end. `sweep` searches settings for one arm first. `caption_splits` are the splits whose images are captioned;
    `custom_prompts` are prompts of your own by name. `framing` is how an image becomes square.
    `prompts` names prompts or sets of them (G+T12); `texts` is the catalogue of text sources that are embedded, and
    `text_sources` names those the text loss reads (docs/texts.md). `class_text` is what stands for a class in the image
    teacher's logits; null takes the data set's description, else "a photo of a NAME.". `describer` writes descriptions
    of classes where a source asks for them; null is the captioner.
    `watch` says what is measured during a training and when it is an alarm (docs/metrics.md); it determines no student.
    `arms` are variants of this very experiment, each a mapping of dotted paths to values; the first one is the baseline
    of the report.
    """

    name: str = Field(pattern=NAME_PATTERN)
    description: str = ""
    dataset: DatasetSettings
    captioner: CaptionerSettings
    prompts: tuple[str, ...] = ("general",)
    custom_prompts: dict[str, str] = Field(default_factory=dict)
    caption_splits: tuple[str, ...] = Field(default=("train",), min_length=1)
    texts: dict[str, TextSettings] = Field(default_factory=dict)
    text_sources: tuple[str, ...] = ()
    class_text: ClassTextSettings | None = None
    domain_texts: tuple[str, ...] = Field(
        default=(), description='each class in K domains ("a dark photo of a {class}."), which RISE reads'
    )
    describer: CaptionerSettings | None = None
    text_encoder: TextEncoderSettings
    image_teacher: ImageEncoderSettings | None = None
    image_teacher_views: int = Field(
        default=4,
        ge=0,
        le=256,
        description="views of each training image that the image teacher sees, replayed in training; 0: no view",
    )
    image_teacher_mode: Literal["cached", "live", "hybrid"] = Field(
        default="cached",
        description="training reads the image teacher's kept rows, or the teacher looks at each view in the step; "
        "hybrid: it looks at the views that were not kept",
    )
    teacher_tuning: TeacherTuningSettings | None = Field(
        default=None, description="make the image teacher a classifier of the data set first; null: as it is"
    )
    image_size: int = Field(default=64, ge=16, le=1024, description="side of the student's images, pixels")
    frame_size: int | None = Field(
        default=None, ge=16, le=1536, description="side of the stored images that views are cut of; null: image_size"
    )
    framing: Framing = "crop"
    student: StudentSettings
    adaptor: AdaptorSettings = AdaptorSettings()
    losses: dict[str, LossSettings]
    class_prompt: ClassPromptSettings | None = Field(
        default=None, description="learn the context of the class texts with the student; null: they are constants"
    )
    text_tuning: TextTuningSettings | None = Field(
        default=None, description="train the text encoder with the student; null: it is frozen"
    )
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    watch: WatchSettings = WatchSettings()
    arms: dict[str, dict[str, Override]] = Field(default={"distilled": {}})
    sweep: SweepReference | None = None

    @field_validator("losses", mode="before")
    @classmethod
    def _null_removes_a_loss(cls, value: Any) -> Any:
        return {name: loss for name, loss in value.items() if loss is not None} if isinstance(value, dict) else value

    @field_validator("custom_prompts")
    @classmethod
    def _prompts_can_be_asked(cls, value: dict[str, str]) -> dict[str, str]:
        if problems := custom_prompt_problems(value):
            raise ValueError("; ".join(problems))
        return value

    @model_validator(mode="after")
    def _references_hold(self) -> Self:
        problems = unknown_prompts(self.prompts, self.custom_prompts)
        asked = expand_prompts(self.prompts)
        for name, text in self.texts.items():
            if name == "image_id" or not re.fullmatch(NAME_PATTERN, name):
                problems.append(f"texts.{name}: no name of a text source (small letters, digits, _ and -)")
            for prompt in text.prompts() if isinstance(text, CaptionText) else ():
                if prompt not in asked:
                    problems.append(f"texts.{name}.prompt: {prompt} is not among prompts ({', '.join(self.prompts)})")
            if isinstance(text, CaptionText) and text.thresholds is not None:
                untuned = self.image_teacher if self.teacher_tuning is None else None
                problems += _cannot_score(name, text.thresholds, self.text_encoder, untuned)
        problems += self._nameless_classes()
        problems += [
            f"domain_texts: {text!r} does not hold {CLASS_FIELD}"
            for text in self.domain_texts
            if CLASS_FIELD not in text
        ]
        if self.teacher_tuning is not None:
            problems += _cannot_tune(self.teacher_tuning, self.image_teacher)
        problems += self._cannot_learn_texts()
        for name in self.text_sources:
            if name not in self.texts:
                problems.append(f"text_sources: {name} is not among texts ({', '.join(self.texts)})")
        if getattr(self.text_encoder, "outputs", DEFAULT_OUTPUTS) != DEFAULT_OUTPUTS:
            problems.append("text_encoder.outputs: a text encoder gives embeddings only; outputs are for image_teacher")
        problems += self._unfit_views()
        problems += unmeasurable(self)
        problems += [
            f"training.loss_schedules.{name}: there is no such loss (losses: {', '.join(self.losses)})"
            for name in self.training.loss_schedules
            if name not in self.losses and not any(f"losses.{name}" in arm for arm in self.arms.values())
        ]
        if not self.losses:
            problems.append("losses: there is none")
        for arm, overrides in self.arms.items():
            problems += [f"arms.{arm}.{problem}" for problem in shared_by_arms(overrides, type(self).model_fields)]
        if not self.arms:
            problems.append("arms: there is none")
        if self.sweep is not None and self.sweep.arm not in self.arms:
            problems.append(f"sweep.arm: {self.sweep.arm} is not among arms ({', '.join(self.arms)})")
        if problems:
            raise ValueError("\n".join(problems))  # each becomes a line of its own
        return self

    @property
    def stored_size(self) -> int:
        """Side of the images that training reads, pixels."""
        return self.frame_size or self.image_size

    def _cannot_learn_texts(self) -> list[str]:
        """Why the class prompts or the text encoder cannot be learnt."""
        learnable, problems = "open_clip or transformers_clip", []
        kinds = ("open_clip", "transformers_clip")
        teacher = self.image_teacher
        if self.class_prompt is not None and (teacher is None or teacher.kind not in kinds):
            problems.append(f"class_prompt needs an image_teacher of kind {learnable}, whose text tower it learns in")
        if self.class_prompt is not None and not self.dataset.has_class_names:
            problems.append("class_prompt needs the names of the classes, and the data set has none")
        if self.text_tuning is not None and self.text_encoder.kind not in kinds:
            problems.append(f"text_tuning needs a text_encoder of kind {learnable}")
        return problems

    def _unfit_views(self) -> list[str]:
        """What is wrong about the sizes of views and of what they are cut of."""
        if self.stored_size < self.image_size:
            return [f"frame_size: {self.frame_size} is below image_size {self.image_size}"]
        named = {"training.views": self.training.views}
        named |= {f"training.more_views.{slot}": one for slot, one in enumerate(self.training.more_views)}
        shifted = [name for name, one in named.items() if one.kind == "shift" and self.stored_size != self.image_size]
        problems = [*self._unfit_teacher_mode()]
        problems += [
            f"{name}: shifted views are as large as what they are cut of; leave frame_size null" for name in shifted
        ]
        if getattr(self.training.views, "shared_draw", False) and self.image_teacher and self.image_teacher_views:
            problems.append("training.views.shared_draw: no teacher can see such views before; image_teacher_views: 0")
        return problems

    def _unfit_teacher_mode(self) -> list[str]:
        mode, num_views = self.image_teacher_mode, self.image_teacher_views
        if mode != "cached" and self.image_teacher is None:
            return [f"image_teacher_mode: {mode} without an image_teacher"]
        if mode == "live" and num_views:
            return [
                f"image_teacher_mode: live reads none of the {num_views} views; set image_teacher_views: 0, or hybrid"
            ]
        if mode == "hybrid" and not num_views:
            return ["image_teacher_mode: hybrid with image_teacher_views: 0 keeps no view; set live, or some views"]
        if mode != "cached" and getattr(self.training.views, "shared_draw", False):
            return [
                "training.views.shared_draw: a view is then no function of its image, and no teacher can look at it"
            ]
        return []

    def _nameless_classes(self) -> list[str]:
        """What would put the name of a class into a text although the data set knows no names."""
        if self.dataset.has_class_names:
            return []
        unknown = unknown_prompts(self.prompts, self.custom_prompts)
        asked = {} if unknown else self.prompt_texts()
        naming = [f"prompts: {name}" for name, text in asked.items() if CLASS_FIELD in text]
        naming += [f"texts.{name}" for name, text in self.texts.items() if text.names_classes]
        naming += ["domain_texts"] if self.domain_texts else []
        naming += ["class_text"] if self.class_text is not None and self.class_text.names_classes else []
        remedy = "dataset.class_names" if isinstance(self.dataset, ListFileSettings) else "dataset.instances"
        return [f"{what} needs the names of the classes, and the data set has none; set {remedy}"
                for what in naming]  # fmt: skip

    def prompt_texts(self) -> dict[str, str]:
        """Prompt name -> text with {class} still in it, sets replaced by their prompts."""
        return resolve_prompts(self.prompts, self.custom_prompts)

    def description_levels(self) -> tuple[str, ...]:
        """The levels of detail at which a source asks for written descriptions of the classes."""
        sources = [*self.texts.values(), self.class_text]
        return tuple(dict.fromkeys(text.level for text in sources if isinstance(text, WrittenDescriptionText)))

    def describer_settings(self) -> CaptionerSettings:
        """Who writes the descriptions of classes."""
        return self.describer or self.captioner


def _cannot_tune(tuning: TeacherTuningSettings, teacher: ImageEncoderSettings | None) -> list[str]:
    """Why this image teacher cannot be tuned so."""
    if teacher is None:
        return ["teacher_tuning: there is no image_teacher"]
    if isinstance(teacher, TunedEncoderSettings):
        return ["teacher_tuning: image_teacher is a tuned one already"]
    problems = []
    if tuning.mode == "fine_tune" and isinstance(teacher, HashedEncoderSettings):
        problems.append("teacher_tuning.mode: a hashed image_teacher has no weights to fine-tune; use linear_probe")
    if tuning.head == "class_texts" and not isinstance(teacher, BothTowers):
        problems.append(
            f"teacher_tuning.head: class_texts needs an image_teacher with a text tower, {teacher.kind} has none; "
            "use random"
        )
    return problems


def _cannot_score(
    name: str,
    thresholds: CaptionThresholds,
    text_encoder: TextEncoderSettings,
    image_teacher: ImageEncoderSettings | None,
) -> list[str]:
    """Why a text source cannot be judged by CLIP score: it takes one and the same encoder for texts and images."""
    if thresholds.min_clip_score is None:
        return []
    what = f"texts.{name}.thresholds.min_clip_score"
    if image_teacher is None:
        return [f"{what}: without image_teacher, or with a tuned one, captions cannot be scored against their images"]
    other = {"logit_scale", "outputs"}  # neither a scale of logits nor more outputs move an embedding
    if image_teacher.model_dump(exclude=other) != text_encoder.model_dump(exclude=other):
        return [f"{what}: image_teacher and text_encoder differ, so their embeddings have no cosine"]
    return []
