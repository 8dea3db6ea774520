"""Recall and in-batch accuracy: by hand, several captions, ties, the last short batch."""

import numpy as np
import pytest
import torch

from orchestrator.errors import DataError
from orchestrator.evaluation import unit_vectors
from orchestrator.evaluation.retrieval import in_batch_accuracy, recall, self_match_accuracy


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_perfect_pairs_are_found_everywhere() -> None:
    image = draw(70, 8)
    assert in_batch_accuracy(image, 2 * image) == {"in_batch_acc@64": 1.0}
    assert set(recall(image, 2 * image).values()) == {1.0}


def test_the_last_short_batch_counts_and_is_easier() -> None:
    image = torch.eye(5)
    text = image[[1, 0, 2, 4, 3]]  # in the first four row 2 alone is right; row 4 is a batch of its own
    assert in_batch_accuracy(image, text, batch_size=5) == {"in_batch_acc@5": 1 / 5}
    assert in_batch_accuracy(image, text, batch_size=4) == {"in_batch_acc@4": 2 / 5}
    assert in_batch_accuracy(image, text, batch_size=1) == {"in_batch_acc@1": 1.0}


def test_smaller_batches_are_easier() -> None:
    image = draw(512, 16)
    text = image + 1.5 * draw(512, 16, seed=1)
    accuracies = [in_batch_accuracy(image, text, size)[f"in_batch_acc@{size}"] for size in (8, 64, 512)]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[-1] == recall(image, text, ks=[1])["image_to_text_recall@1"]


def test_recall_by_hand_with_several_captions_of_an_image() -> None:
    image = torch.eye(3, dtype=torch.float64)
    text = torch.tensor([[0.9, 0.1, 0], [0, 0.2, 1], [1, 0.3, 0], [0.5, 0, 0.6]], dtype=torch.float64)
    found = recall(image, text, np.array([0, 2, 1, 0]), ks=(1, 2, 3))
    # image 0: its text 0 is nearest. image 1: text 2 is nearest (0.29). image 2: text 1 is nearest
    assert [found[f"image_to_text_recall@{k}"] for k in (1, 2, 3)] == [1, 1, 1]
    # text 0: image 0 first. text 1: image 2 first. text 2: image 0 before 1. text 3: image 2 before 0
    assert [found[f"text_to_image_recall@{k}"] for k in (1, 2, 3)] == [0.5, 1, 1]


def test_an_image_is_found_when_any_of_its_captions_is() -> None:
    image = torch.eye(2)
    text = torch.tensor([[-1.0, 0], [1, 0.1], [0, 1]])
    assert recall(image, text, np.array([0, 0, 1]), ks=[1])["image_to_text_recall@1"] == 1


def test_recall_agrees_with_sorting_all_cosines() -> None:
    image, text = draw(30, 4), draw(90, 4, seed=1)
    owner = torch.arange(90) % 30
    unit = torch.nn.functional.normalize
    order = (unit(image) @ unit(text).T).argsort(1, descending=True)
    expected = [(owner[order[:, :k]] == torch.arange(30)[:, None]).any(1).double().mean().item() for k in (1, 5, 10)]
    found = recall(image, text, owner)
    assert [found[f"image_to_text_recall@{k}"] for k in (1, 5, 10)] == pytest.approx(expected)
    back = (unit(text) @ unit(image).T).argsort(1, descending=True)
    expected = [(back[:, :k] == owner[:, None]).any(1).double().mean().item() for k in (1, 5, 10)]
    assert [found[f"text_to_image_recall@{k}"] for k in (1, 5, 10)] == pytest.approx(expected)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    image, text, owner = draw(30, 4), draw(90, 4, seed=1), np.arange(90) % 30
    whole = recall(image, text, owner)
    monkeypatch.setattr(unit_vectors, "BLOCK_ELEMENTS", 200)
    assert recall(image, text, owner) == whole


def test_a_collapsed_model_finds_nothing() -> None:
    collapsed = draw(1, 96).float().expand(130, 96)
    assert in_batch_accuracy(collapsed, collapsed) == {"in_batch_acc@64": 0.0}
    assert set(recall(collapsed, collapsed).values()) == {0.0}


def test_the_self_match_of_any_embedding_without_duplicates_is_one() -> None:
    assert self_match_accuracy(draw(100, 3)) == {"self_match_acc": 1.0}


def test_an_image_without_a_text_is_refused() -> None:
    with pytest.raises(DataError, match="do not fit together"):
        recall(torch.eye(3), torch.eye(3), np.array([0, 1, 1]))
    with pytest.raises(DataError, match="do not fit together"):
        recall(torch.eye(3), torch.eye(3), np.array([0, 1, 3]))
    with pytest.raises(DataError, match="first caption of every image"):
        in_batch_accuracy(torch.eye(3), torch.eye(4)[:, :3])
