"""Thresholds drop exactly the captions that fail them, and the reasons add up."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from orchestrator.captioners.quality_thresholds import CaptionThresholds
from orchestrator.evaluation.caption_thresholds import apply_thresholds

NAMES = ["cat", "dog"]
CAPTIONS = ["a cat", None, "a cat on a mat by a door", "red red red red red cat", "a dog", "a thing", "a thing"]
LABELS = np.array([0, 0, 0, 0, 1, 0, 1])
COSINE = np.array([0.4, np.nan, 0.2, -0.1, np.nan, 0.5, 0.1], np.float32)


@pytest.mark.parametrize(
    ("thresholds", "dropped"),
    [
        ({}, []),
        ({"min_words": 3}, [0, 4, 5, 6]),
        ({"max_words": 6}, [2]),
        ({"max_repeated_fraction": 0.5}, []),
        ({"max_repeated_fraction": 0.4}, [3]),  # red red red, twice more: 2 of 4
        ({"must_name_class": True}, [5, 6]),
        ({"min_clip_score": 0.75}, [2, 3, 4, 6]),  # 2.5 times 0.3; what has no score cannot reach one
        ({"drop_duplicates_across_classes": True}, [5, 6]),
        ({"must_name_class": True, "max_words": 6}, [2, 5, 6]),
    ],
)
def test_exactly_the_captions_that_fail_are_dropped(thresholds: dict[str, Any], dropped: list[int]) -> None:
    verdict = apply_thresholds(CaptionThresholds(**thresholds), CAPTIONS, LABELS, NAMES, COSINE)
    assert np.flatnonzero(verdict.dropped).tolist() == dropped
    assert np.flatnonzero(~verdict.present).tolist() == [1]
    assert not (verdict.kept & verdict.dropped).any()
    assert (verdict.kept | verdict.dropped).tolist() == verdict.present.tolist()


def test_a_caption_that_fails_twice_is_counted_under_its_first_reason_only() -> None:
    thresholds = CaptionThresholds(min_words=3, must_name_class=True)
    verdict = apply_thresholds(thresholds, CAPTIONS, LABELS, NAMES)
    first = verdict.first_failed()
    assert {name: int(mask.sum()) for name, mask in verdict.fails.items()} == {"min_words": 4, "must_name_class": 2}
    assert {name: int(mask.sum()) for name, mask in first.items()} == {"min_words": 4, "must_name_class": 0}
    assert sum(mask.sum() for mask in first.values()) == verdict.dropped.sum()


def test_no_caption_at_all_is_judged_without_fail() -> None:
    thresholds = CaptionThresholds(min_words=3, drop_duplicates_across_classes=True)
    assert not apply_thresholds(thresholds, [None, None], np.array([0, 1]), NAMES).dropped.any()


def test_thresholds_that_nothing_can_meet_are_refused() -> None:
    with pytest.raises(ValidationError, match="min_words 9 is more than max_words 3"):
        CaptionThresholds(min_words=9, max_words=3)
