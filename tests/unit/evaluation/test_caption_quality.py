"""Measures of captions have the values that can be counted by hand, and hold for degenerate captions and for none."""

import numpy as np
import pandas as pd
import pytest

from orchestrator.evaluation.caption_quality import clip_scores, cosines, measure_captions, measure_text
from orchestrator.evaluation.caption_summary import bin_edges, choose_examples, histogram, summarise, worst_classes

NAMES = ["cat", "dog"]


def measured(captions: list[str], labels: list[int] | None = None, prompts: list[str] | None = None) -> pd.DataFrame:
    """Measures of captions, of class 0 and one prompt unless said otherwise."""
    given = np.array(labels if labels is not None else [0] * len(captions), np.int64)
    return measure_captions(captions, prompts or ["general"] * len(captions), given, NAMES)


@pytest.mark.parametrize(
    ("text", "words", "characters", "repeated", "run", "ends"),
    [
        ("a red star on grass", 5, 19, 0.0, 1, False),
        ("  A cat's well-worn mat.  ", 4, 22, 0.0, 1, True),
        ("", 0, 0, 0.0, 0, False),
        (" ... ", 0, 3, 0.0, 0, True),
        ("star", 1, 4, 0.0, 1, False),
        ("very very", 2, 9, 0.0, 2, False),
        ("red red red red", 4, 15, 1 / 2, 4, False),  # two 3-grams, one of them unique
        ("Red red RED red!", 4, 16, 1 / 2, 4, True),
        ("a red a red a red star", 7, 22, 2 / 5, 3, False),
        ("one two three one two three", 6, 27, 1 / 4, 2, False),
        ("the cat and the dog and the cat", 8, 31, 0.0, 1, False),
        (
            "a b c d e a b c d e",
            10,
            19,
            3 / 8,
            1,
            False,
        ),  # a phrase of five words is too long for a run, not for n-grams
        ("He said “go!”)", 3, 14, 0.0, 1, True),
        ("三つの星。", 1, 5, 0.0, 1, True),
    ],
)
def test_a_text_is_measured(text: str, words: int, characters: int, repeated: float, run: int, ends: bool) -> None:
    found = measure_text(text)
    assert found == (words, characters, pytest.approx(repeated), run, ends)


def test_flags_of_degenerate_captions() -> None:
    frame = measured(["", "...", "star star star", "so so good", "one two three four one two three four", "a cat"])
    assert frame["empty"].tolist() == [True, True, False, False, False, False]
    assert frame["repeats"].tolist() == [False, False, True, False, True, False]
    assert frame["names_class"].tolist() == [False, False, False, False, False, True]


def test_duplicates_are_counted_within_the_prompt_and_told_apart_by_class() -> None:
    captions = ["same", "same", "shared", "shared", "alone", "alone", "", ""]
    labels = [0, 0, 0, 1, 0, 0, 0, 1]
    prompts = ["p", "p", "p", "p", "p", "q", "p", "p"]
    frame = measured(captions, labels, prompts)
    assert frame["duplicate"].tolist() == [True, True, True, True, False, False, False, False]
    assert frame["duplicate_across_classes"].tolist() == [False, False, True, True, False, False, False, False]


def test_a_long_caption_without_an_end_is_cut_off_only_where_shorter_ones_end() -> None:
    short, long, cut = "a star.", "one two three four five six seven eight.", "one two three four five six seven a"
    assert measured([short, short, long, cut])["cut_off"].tolist() == [False, False, False, True]
    assert measured(["a star", "a star", "one two three four five six seven a"])["cut_off"].tolist() == [False] * 3
    prompts = ["p", "p", "q", "q"]  # a prompt's longest caption is its own
    assert measured([cut, short, "a b.", "a b"], prompts=prompts)["cut_off"].tolist() == [True, False, False, True]


def test_cosines_and_clip_scores_are_those_of_the_formula() -> None:
    texts = np.array([[1, 0], [0, 2], [3, 4]], np.float16)
    images = np.array([[1, 0], [-1, 0]], np.float32)
    found = cosines(texts, np.array([0, 1, 2, 0, -1, 0]), images, np.array([0, 0, 0, 1, 0, -1]))
    np.testing.assert_allclose(found, [1, 0, 0.6, -1, np.nan, np.nan], atol=1e-6)
    np.testing.assert_allclose(clip_scores(found), [2.5, 0, 1.5, 0, np.nan, np.nan], atol=1e-6)


def test_cosines_in_blocks_are_those_of_all_rows_at_once() -> None:
    generator = np.random.default_rng(0)
    texts, images = (generator.standard_normal((20_000, 3)).astype(np.float32) for _ in range(2))
    rows = generator.permutation(20_000)
    expected = np.sum(texts[rows] * images, 1) / np.linalg.norm(texts[rows], axis=1) / np.linalg.norm(images, axis=1)
    np.testing.assert_allclose(cosines(texts, rows, images, np.arange(20_000)), expected, atol=1e-5)


def test_sums_are_those_counted_by_hand() -> None:
    frame = measured(["a cat.", "a b c d", "a cat.", "dogs"], [0, 0, 0, 1])
    frame["clip_score"] = np.array([1.0, 0.5, np.nan, np.nan], np.float32)
    found = summarise(frame.assign(label=[0, 0, 0, 1], prompt="p"), ["prompt", "label"])
    first, second = found.loc[("p", 0)], found.loc[("p", 1)]
    assert (first["captions"], first["scored"]) == (3, 2)
    assert first["names_class"] == pytest.approx(2 / 3)
    assert first["duplicate"] == pytest.approx(2 / 3)
    assert (first["words_median"], first["words_mean"]) == (2, pytest.approx(8 / 3))
    assert (first["clip_score_mean"], first["clip_score_p25"]) == (0.75, 0.625)
    assert (second["captions"], second["scored"], second["names_class"]) == (1, 0, 1)
    assert np.isnan(second["clip_score_mean"])


def test_without_a_caption_every_function_gives_nothing_and_none_fails() -> None:
    frame = measured([]).assign(prompt="", label=0, group="", image_id="")
    assert len(frame) == len(summarise(frame, ["prompt", "label"])) == 0
    assert choose_examples(frame, ["many", "few"], num_each=2, num_random=3) == []
    assert bin_edges(np.array([]), whole=True).tolist() == [0, 1]
    assert histogram(np.array([np.nan]), np.array([0.0, 1.0])) == [0.0]
    assert cosines(np.zeros((0, 2)), np.array([], np.int64), np.zeros((0, 2)), np.array([], np.int64)).shape == (0,)


def test_a_histogram_of_words_has_one_bin_for_each_number_and_shares_that_add_up() -> None:
    words = np.array([3, 3, 4, 6], np.int32)
    edges = bin_edges(words, whole=True)
    assert edges.tolist() == [2.5, 3.5, 4.5, 5.5, 6.5]
    assert histogram(words.astype(float), edges) == [0.5, 0.25, 0.0, 0.25]
    many = np.arange(1, 1001)
    assert len(bin_edges(many, whole=True)) <= 32
    assert sum(histogram(many.astype(float), bin_edges(many, whole=True))) == pytest.approx(1)
    assert histogram(np.array([0.7, 0.7]), bin_edges(np.array([0.7, 0.7]), whole=False)) == [1.0]


def test_the_worst_classes_are_those_of_the_lowest_score_else_those_seldom_named() -> None:
    rows = {"clip_score_mean": [0.5, 0.2, np.nan], "names_class": [0, 1, 0.5], "duplicate_across_classes": [0, 0, 1]}
    assert list(worst_classes(pd.DataFrame(rows), 2).index) == [1, 0]
    assert list(worst_classes(pd.DataFrame(rows | {"clip_score_mean": [np.nan] * 3}), 2).index) == [0, 2]
    even = {"clip_score_mean": [np.nan] * 3, "names_class": [0, 0, 0], "duplicate_across_classes": [0, 0, 1]}
    assert list(worst_classes(pd.DataFrame(even), 3).index) == [2, 0, 1]


def test_the_gallery_holds_best_worst_median_and_others_once_and_always_the_same() -> None:
    ids = [f"image-{number}" for number in range(20)]
    frame = measured(["a"] * 20).assign(image_id=ids, prompt="p", label=0, group=["many"] * 15 + ["few"] * 5)
    frame["clip_score"] = np.arange(20, dtype=np.float32) / 10
    found = choose_examples(frame, ["many", "few"], num_each=2, num_random=3)
    many = {why: [e.image_id for e in found if e.group == "many" and e.why == why] for why in {e.why for e in found}}
    assert many["best by CLIP score"] == ["image-14", "image-13"]
    assert many["worst by CLIP score"] == ["image-0", "image-1"]
    assert many["median by CLIP score"] == ["image-6", "image-7"]
    assert len(many["by lot"]) == 3
    assert sorted(e.image_id for e in found if e.group == "few") == sorted(ids[15:])
    assert len({e.image_id for e in found}) == len(found) == 14
    shuffled = frame.sample(frac=1, random_state=3)
    assert choose_examples(shuffled, ["many", "few"], num_each=2, num_random=3) == found


def test_without_scores_the_gallery_shows_the_captions_with_most_faults() -> None:
    frame = measured(["fine", "star star star", "also fine"])
    frame = frame.assign(image_id=["a", "b", "c"], prompt="p", label=0, group="few")
    found = choose_examples(frame, ["few"], num_each=2, num_random=5)
    assert [(e.image_id, e.why) for e in found if e.why != "by lot"] == [("b", "most faults")]
    assert sorted(e.image_id for e in found) == ["a", "b", "c"]
