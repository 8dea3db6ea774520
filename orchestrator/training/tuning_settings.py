"""What determines how an image teacher is made a classifier of the data set, besides encoder and data.

Holds settings. Reads and writes nothing.
"""

from typing import Literal

from pydantic import Field

from orchestrator.frozen import Frozen


class TeacherTuningSettings(Frozen):
    """Fine-tuning or linear probing of the image teacher on the student's training images (VLM-KD; methods 16.3).

    `fine_tune` trains encoder and head, `linear_probe` the head alone on kept embeddings. The head is linear on unit
    embeddings; `class_texts` begins it with the text embeddings of the classes times the encoder's `logit_scale`, for
    encoders that have both towers.
    AdamW, half a cosine, logit-adjusted cross-entropy; the epoch that is best on the selection split is kept.
    `data_seed` draws order and views; students of any seed then have this one teacher.
    """

    mode: Literal["fine_tune", "linear_probe"] = Field(
        default="fine_tune", description="train encoder and head, or the head alone on kept embeddings"
    )
    head: Literal["class_texts", "random"] = Field(
        default="class_texts", description="what the head begins with: the class texts, or random weights"
    )
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=64, ge=1, description="images of a step")
    encoder_learning_rate: float = Field(default=1e-5, gt=0, description="peak; not read by linear_probe")
    head_learning_rate: float = Field(default=1e-3, gt=0, description="peak")
    weight_decay: float = Field(default=0.05, ge=0, description="of matrices; vectors and scalars are not decayed")
    tau: float = Field(default=1.0, ge=0, description="strength of the logit adjustment; 0: plain cross-entropy")
    init_seed: int = Field(default=0, ge=0, description="a random head, and the encoder's own dropout")
    data_seed: int = Field(default=0, ge=0, description="order of the images and their views")
    num_threads: int = Field(default=1, ge=1, description="torch's threads: they change the last bits")
