"""Settings of what is learnt of texts while a student is trained: the context of class prompts, the text encoder.

Holds settings. Reads and writes nothing.
"""

from pydantic import Field

from orchestrator.frozen import Frozen


class ClassPromptSettings(Frozen):
    """Prompt learning (Zhou et al., CoOp, IJCV 2022; Li et al., ICCV 2023; methods 1.8).

    `num_context` learnt vectors, shared by all classes, stand before each class's "name." in the frozen text tower of
    the image teacher, and are optimised with the student, by its optimiser (parameter `class_prompt.context`, to which
    `training.optimizer.learning_rate_scales` may give a rate of its own). Evaluation, on unseen classes too, uses them.
    """

    num_context: int = Field(default=8, ge=1, le=64)
    init_std: float = Field(default=0.02, gt=0, description="of the normal start values")
    with_class_text: bool = Field(
        default=False, description='"name . sentence." with the sentence of class_text, instead of "name."'
    )
    classes_per_pass: int | None = Field(
        default=None,
        ge=1,
        description="classes in one pass through the text tower, for memory; null: all. Takes a pass more when set",
    )


class TextTuningSettings(Frozen):
    """Fine-tuning of the text encoder beside the student (VLM-KD's ablation "CLIP ViT-B/16-FT"; methods 2.6).

    The texts of a batch then go through the encoder at each step, in place of their cached vectors, and the text loss
    trains it; `symmetric: true` of that loss is CLIP's objective. `learning_rate` is the peak of a group of its own.
    """

    learning_rate: float = Field(default=1e-5, gt=0)
