"""Which leading tokens the prompts of an image share, and the padding of rows."""

import torch

from orchestrator.captioners.generation.decoding import pad_left
from orchestrator.captioners.generation.sharing import shared_lengths, sharing_of

IMG = 9  # the image token


def test_the_prefix_reaches_to_the_first_word_in_which_any_two_prompts_differ() -> None:
    rows = [[1, IMG, IMG, 2, 3, 4, 7], [1, IMG, IMG, 2, 5, 7], [1, IMG, 2, 3, 4, 6, 7]]
    assert shared_lengths(rows, [0, 0, 1], IMG) == [4, 3]


def test_each_row_keeps_a_token_of_its_own_even_when_prompts_are_the_same() -> None:
    assert shared_lengths([[1, IMG, 2, 7], [1, IMG, 2, 7]], [0, 0], IMG) == [3]
    assert shared_lengths([[1, IMG, 7], [1, IMG, 7, 7]], [0, 0], IMG) == [2]


def test_words_before_the_image_that_differ_leave_nothing_to_share() -> None:
    assert shared_lengths([[1, IMG, 2, 7], [2, IMG, 2, 7]], [0, 0], IMG) is None
    assert shared_lengths([[1, IMG, 2, 7], [2, IMG, 2, 7]], [0, 1], IMG) == [3, 3]


def test_an_image_at_the_end_of_the_prompt_leaves_no_suffix() -> None:
    assert shared_lengths([[1, 2, IMG], [1, 2, IMG]], [0, 0], IMG) is None


def test_a_family_that_nobody_tested_shares_nothing() -> None:
    assert sharing_of("llava_next") == "prefix"
    assert sharing_of("blip") == "image"
    assert sharing_of("a_family_of_next_year") == "none"


def test_rows_are_padded_on_the_left_and_masked() -> None:
    ids, mask = pad_left([[5, 6, 7], [8], []], 3, "cpu")
    assert torch.equal(ids, torch.tensor([[5, 6, 7], [3, 3, 8], [3, 3, 3]]))
    assert torch.equal(mask, torch.tensor([[1, 1, 1], [0, 0, 1], [0, 0, 0]]))
