"""Image to text and back: recall over a whole set, and the accuracy inside batches that course reports print.

Holds pure functions of embeddings. Reads and writes nothing. Source: methods 6.4. A tie is never a hit: a model that
maps everything to one point finds nothing.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from orchestrator.errors import DataError
from orchestrator.evaluation.unit_vectors import Labels, Vectors, as_labels, row_blocks, tie_width, unit_vectors

BATCH_SIZE = 64
RECALL_AT = (1, 5, 10)


def in_batch_accuracy(image: Vectors, text: Vectors, batch_size: int = BATCH_SIZE) -> dict[str, float]:
    """Fraction of images whose own text is the nearest of those in their batch.

    It depends on the batch size, which is in the name: of 64 it is far higher than over the set. Batches follow the
    given order; the last short one counts.

    Args:
        image: [N, D], in a fixed order.
        text: [N, D], the first caption of each image.

    Returns:
        `in_batch_acc@B`, 0..1.
    """
    left, right = _both(image, text)
    if len(left) != len(right) or len(left) == 0:
        raise DataError(f"{len(left)} images and {len(right)} texts", expected="the first caption of every image")
    hits = 0
    for start in range(0, len(left), batch_size):
        rows = slice(start, start + batch_size)
        hits += int((_own_rank(left[rows] @ right[rows].T, torch.arange(len(left[rows]))) == 0).sum())
    return {f"in_batch_acc@{batch_size}": hits / len(left)}


def self_match_accuracy(embedding: Vectors, batch_size: int = BATCH_SIZE) -> dict[str, float]:
    """DEGENERATE, kept for reproduction alone: the arg-max of a batch's self-similarity is the image itself.

    True of every embedding without duplicates, so it measures nothing (methods 6.4); report class accuracy instead.
    """
    found = in_batch_accuracy(embedding, embedding, batch_size)
    return {"self_match_acc": found[f"in_batch_acc@{batch_size}"]}


def recall(
    image: Vectors, text: Vectors, image_of_text: Labels | None = None, ks: Sequence[int] = RECALL_AT
) -> dict[str, float]:
    """Recall@k over the full set in both directions.

    Args:
        image: [N, D].
        text: [M, D], several captions of an image allowed.
        image_of_text: [M] row of `image` of each text; None: text i is of image i.
        ks: ranks.

    Returns:
        `image_to_text_recall@k`: fraction of images with one of their own texts among the k nearest texts;
        `text_to_image_recall@k`: fraction of texts with their image among the k nearest images.

    Raises:
        DataError: an image without a text, or a text of no image.
    """
    images, texts = _both(image, text)
    owner = torch.arange(len(texts)) if image_of_text is None else as_labels(image_of_text, torch.empty(0))
    owner = owner.to(images.device)
    known = bool(len(owner) == len(texts) and ((owner >= 0) & (owner < len(images))).all())
    if not known or len(owner.unique()) != len(images):
        raise DataError(
            f"{len(texts)} texts of {len(images)} images do not fit together",
            expected="for each text the row of its image, and at least one text for every image",
        )
    number = torch.arange(len(images), device=owner.device)[:, None]
    to_text = [
        _best_own_rank(images[rows] @ texts.T, owner == number[rows]) for rows in row_blocks(len(images), len(texts))
    ]
    to_image = [_own_rank(texts[rows] @ images.T, owner[rows]) for rows in row_blocks(len(texts), len(images))]
    ranks = {"image_to_text": torch.cat(to_text), "text_to_image": torch.cat(to_image)}
    return {
        f"{direction}_recall@{k}": float((rank < k).double().mean()) for direction, rank in ranks.items() for k in ks
    }


def _best_own_rank(cosines: Tensor, own: Tensor) -> Tensor:
    """[n] how many columns of others are as near as the best own one, 0 = none."""
    best = cosines.masked_fill(~own, -torch.inf).max(1).values
    others = cosines.masked_fill(own, -torch.inf)
    return (others >= best[:, None] - tie_width(cosines.dtype)).sum(1)


def _own_rank(cosines: Tensor, column: Tensor) -> Tensor:
    """[n] how many other columns are as near as column[i]."""
    own = cosines.gather(1, column.to(cosines.device)[:, None])
    return (cosines >= own - tie_width(cosines.dtype)).sum(1) - 1


def _both(image: Vectors, text: Vectors) -> tuple[Tensor, Tensor]:
    left, right = unit_vectors(image), unit_vectors(text)
    dtype = torch.promote_types(left.dtype, right.dtype)
    return left.to(dtype), right.to(left.device, dtype)
