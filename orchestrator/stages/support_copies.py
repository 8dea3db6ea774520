"""Augmented copies of the support images of unseen classes through the image teacher, for retrieval (methods 1.12).

Reads the index and images; commits missing rows to the teacher's store of images through the engine, so that the
students of all arms, and later runs, share them. Knows nothing of students or of accuracies.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.artifacts.store_arrays import read_rows
from orchestrator.stages import index, tune
from orchestrator.stages.context import Context
from orchestrator.stages.embed_views import EncodedViews, encoded_views
from orchestrator.teachers.encoder import EMBEDDING
from orchestrator.training.view_settings import AugmentedViews, TeacherViews
from orchestrator.vocabulary import SPLIT_TRAIN


def encoded_copies(context: Context, num_copies: int) -> EncodedViews:
    """The rows of `num_copies` views of each support image: RandAugment (2, 9), then the crop, as the OOD paper trains.

    A copy is a function of the experiment's data seed and the image's id. Images are in the order of the index.
    """
    experiment, data = context.experiment, index.load(context)
    teacher = tune.teacher_of(context)
    assert teacher is not None, "retrieval without an image teacher was refused when the sheet was read"
    recipe = TeacherViews(
        num_views=num_copies,
        views=AugmentedViews(recipe="ood_vit"),
        image_size=experiment.image_size,
        framing=experiment.framing,
        data_seed=experiment.training.data_seed,
    )
    is_train = pc.equal(data.images["split"], SPLIT_TRAIN)
    is_unseen = pc.is_in(data.images["label"], pa.array(data.class_groups().unseen, pa.int32()))
    return encoded_views(context, teacher, recipe, data.images.filter(pc.and_(is_train, is_unseen)))


def support_copies(context: Context, num_copies: int, folder: Path) -> npt.NDArray[np.float32]:
    """[M, num_copies, D]: the teacher's embeddings of the copies; only those missing from the store are made.

    Args:
        folder: where the engine's plan lies meanwhile.

    Raises:
        ArtifactError: an image could not be encoded.
    """
    copies = encoded_copies(context, num_copies)
    copies.make_missing(context, folder=folder)
    rows = read_rows(copies.store, copies.keys, EMBEDDING).astype(np.float32)
    return rows.reshape(num_copies, copies.images.num_rows, -1).swapaxes(0, 1)
