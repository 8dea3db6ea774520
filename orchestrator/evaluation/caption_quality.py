"""What can be measured of captions: length, repetition, duplicates, cut ends, naming of the class, CLIP score.

Holds pure functions from texts and vectors to a table. Reads and writes nothing. Knows nothing of captioners and files.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from orchestrator.evaluation.class_mentions import names_class

if TYPE_CHECKING:
    import pandas as pd

NGRAM = 3  # words; two repeated words ("a red") are good English, three seldom are
LONGEST_PHRASE = 4  # words of a phrase that is looked for in runs
REPEATS_FROM_RUN = 3  # "very very" is English, the third "very" in a row is a loop
REPEATS_FROM_FRACTION = 0.3
CUT_OFF_LENGTH_FRACTION = 0.75  # tokens for each word vary by about this much between captions of one token limit
CLIP_SCORE_WEIGHT = 2.5  # w of CLIPScore
_ROWS_AT_ONCE = 8192

_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_SENTENCE_END = re.compile(r"[.!?…。！？]['\"”’»)\]]*\s*$")

FLAGS = ("empty", "repeats", "cut_off", "duplicate", "duplicate_across_classes", "names_class", "ends_sentence")

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.integer[Any]]


class TextMeasures(NamedTuple):
    """What a text says of itself; see `measure_text`."""

    words: int
    characters: int
    repeated_fraction: float
    longest_run: int
    ends_sentence: bool


def measure_text(text: str) -> TextMeasures:
    """Measures of one text.

    `words`: runs of letters, digits, inner apostrophes and hyphens; in a script without spaces between words a whole
    phrase is one. `characters`: without outer blanks. `repeated_fraction`: the share of 3-grams of words that occurred
    before, 1 - unique / all in 0..1, case aside (seq-rep-n of Welleck et al. 2020, with n = 3; 0 for fewer than three
    words). `longest_run`: how often one phrase of one to four words follows on itself at most (1: never repeated, 0: no
    word). `ends_sentence`: the last mark, closing quotes and brackets aside, is a full stop, !, ? or ….
    """
    words = _WORD.findall(text.casefold())
    ends = _SENTENCE_END.search(text) is not None
    if len(set(words)) == len(words):  # most captions: nothing can repeat
        return TextMeasures(len(words), len(text.strip()), 0.0, min(len(words), 1), ends)
    ngrams = [tuple(words[start : start + NGRAM]) for start in range(len(words) - NGRAM + 1)]
    repeated = 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0
    return TextMeasures(len(words), len(text.strip()), repeated, _longest_run(words), ends)


def _longest_run(words: Sequence[str]) -> int:
    longest = 1
    for length in range(1, min(LONGEST_PHRASE, len(words) // 2) + 1):
        equal = 0  # how many words in a row equal the one `length` before them
        for before, word in zip(words, words[length:], strict=False):
            equal = equal + 1 if before == word else 0
            longest = max(longest, equal // length + 1)
    return longest


def cosines(texts: npt.NDArray[Any], text_rows: Integers, images: npt.NDArray[Any], image_rows: Integers) -> Floats:
    """Cosine of each caption's text and image embedding, [N]; NaN where either row is -1.

    Args:
        texts, images: [T, e], [M, e], any floating type; computed in float32.
        text_rows, image_rows: [N], rows of `texts` and of `images`.
    """
    found = np.full(len(text_rows), np.nan, np.float32)
    known = np.flatnonzero((np.asarray(text_rows) >= 0) & (np.asarray(image_rows) >= 0))
    for start in range(0, len(known), _ROWS_AT_ONCE):
        part = known[start : start + _ROWS_AT_ONCE]
        text, image = texts[text_rows[part]].astype(np.float32), images[image_rows[part]].astype(np.float32)
        norms = np.linalg.norm(text, axis=1) * np.linalg.norm(image, axis=1)
        found[part] = np.einsum("ne,ne->n", text, image) / np.maximum(norms, 1e-12)
    return found


def clip_scores(cosine: Floats) -> Floats:
    """CLIPScore, 2.5 * max(cosine, 0), NaN where the cosine is (Hessel et al. 2021, equation 1).

    Their prefix "A photo depicts" is not added: the score is that of the very vectors that training reads.
    """
    return np.asarray(CLIP_SCORE_WEIGHT * np.maximum(cosine, 0), np.float32)


def measure_captions(
    captions: Sequence[str],
    prompts: Sequence[str],
    labels: Integers,
    class_names: Sequence[str],
    cosine: Floats | None = None,
) -> "pd.DataFrame":
    """One row of measures for each of N captions (of each image at most one for each prompt), in their order.

    Columns: those of `TextMeasures`; `empty` (no word), `repeats` (a phrase three times in a row, or a
    repeated fraction of 0.3 or more), `cut_off` (a guess, see the function), `duplicate` and
    `duplicate_across_classes` (another image, or one of another class, has the very same caption for the same prompt),
    `names_class` (see `names_class`), `clip_score` (float32, NaN where there is no cosine).
    """
    import pandas as pd

    texts, codes = np.unique(np.asarray(captions, dtype=object).astype(str), return_inverse=True)
    measured = pd.DataFrame([measure_text(str(text)) for text in texts], columns=list(TextMeasures._fields))
    kinds = {"words": np.int32, "characters": np.int32, "repeated_fraction": np.float64, "longest_run": np.int32}
    frame = measured.astype({**kinds, "ends_sentence": bool}).iloc[codes].reset_index(drop=True)
    frame["empty"] = frame["words"] == 0
    fraction, run = frame["repeated_fraction"], frame["longest_run"]
    frame["repeats"] = (run >= REPEATS_FROM_RUN) | (fraction >= REPEATS_FROM_FRACTION)
    frame["cut_off"] = _cut_off(frame, np.asarray(prompts, dtype=object))
    grouped = pd.DataFrame({"prompt": list(prompts), "code": codes, "label": labels}).groupby(["prompt", "code"])
    said = ~frame["empty"]
    frame["duplicate"] = (grouped["label"].transform("size") > 1) & said
    frame["duplicate_across_classes"] = (grouped["label"].transform("min") != grouped["label"].transform("max")) & said
    pairs, rows = np.unique(np.stack([codes, labels], axis=1).reshape(-1, 2), axis=0, return_inverse=True)
    named = [names_class(str(texts[code]), class_names[label]) for code, label in pairs]
    frame["names_class"] = np.asarray(named, dtype=bool)[rows.reshape(-1)]
    frame["clip_score"] = np.full(len(frame), np.nan, np.float32) if cosine is None else clip_scores(cosine)
    return frame


def _cut_off(frame: "pd.DataFrame", prompts: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """A guess at captions that the token limit ended: long ones without an end, where shorter ones do end.

    Long is 0.75 of the prompt's longest caption or more, in words. Where fewer than half of the prompt's shorter
    captions (of all, if none is shorter) end as sentences, a missing end says nothing: that may be its style.
    """
    import pandas as pd

    result = np.zeros(len(frame), dtype=bool)
    words, ends = frame["words"].to_numpy(), frame["ends_sentence"].to_numpy()
    for prompt in pd.unique(prompts):
        chosen = prompts == prompt
        long = chosen & (words > 0) & (words >= CUT_OFF_LENGTH_FRACTION * words[chosen].max())
        judged = ends[chosen & ~long] if (chosen & ~long).any() else ends[chosen]
        if judged.mean() >= 0.5:
            result |= long & ~ends
    return result
