"""An image teacher that looks at the views a training draws, in the training step, instead of rows that were kept.

Holds what a job says of it and how it is opened. Reads the images and the encoder's weights. Knows nothing of losses.
"""

from pathlib import Path
from typing import Any, Literal

from orchestrator.datasets.framing import Framing
from orchestrator.frozen import Frozen
from orchestrator.teachers import ImageEncoderSettings
from orchestrator.training.encoded_pixels import Addresses, EncodedPixels
from orchestrator.training.settings import TrainingSettings
from orchestrator.training.teacher_views import LiveTeacher
from orchestrator.training.view_settings import TeacherViews
from orchestrator.vocabulary import SPLIT_TRAIN


class LiveTeaching(Frozen):
    """What looks, and when: `live` at every view, `hybrid` at those alone whose rows were not kept.

    `framing` is how an image becomes the square that views are cut of (see datasets/framing.py).
    """

    mode: Literal["live", "hybrid"]
    encoder: ImageEncoderSettings
    framing: Framing = "crop"

    def settings(self) -> dict[str, Any]:
        """What determines the student, as plain JSON."""
        return {"live_teacher": {"mode": self.mode, "encoder": self.encoder.identity()}}

    def open(self, shards: Path, training: TrainingSettings, image_size: int, keys: Any) -> LiveTeacher:
        """The encoder in float32 and in evaluation mode, outside of whatever is trained.

        Args:
            keys: [N] of the training images.
        """
        exact = {"dtype": "float32"} if "dtype" in type(self.encoder).model_fields else {}
        encoder: Any = self.encoder.model_copy(update=exact).build_image()
        recipe = TeacherViews(
            num_views=1, views=training.views, image_size=image_size, data_seed=training.data_seed, framing=self.framing
        )
        return LiveTeacher(encoder, Addresses(EncodedPixels(shards / f"{SPLIT_TRAIN}.arrow")), keys, recipe)
