"""The embedded teachers' tokenizer: byte-level BPE of 800 tokens, which can encode any string.

Trained on captions, prompts and invented words; writes tokenizer.json and tokenizer_config.json into a folder. In the
CLIP's folder a text is framed as <bos> text <eos>; in the VLM's folder nothing is added, because the chat template
holds the frame. Knows nothing of images. CLIP's own vocabulary of 49,408 words would need 25 MB of embeddings at
width 128 (here 0.4 MB).
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.datasets.shapes_grammar import (
    CLASS_NAMES,
    GENERAL_PROMPT,
    TARGETED_PROMPTS,
    describe_object,
    general_caption,
    targeted_caption,
)
from orchestrator.embedded.scene_pool import pool_scene

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, BOS, IMAGE, USER, ASSISTANT, EOS = range(6)
SPECIAL_TOKENS = ("<pad>", "<bos>", "<image>", "<user>", "<assistant>", "<eos>")
VOCABULARY_SIZE = 800
_ENGLISH = [
    "a",
    "photo",
    "of",
    "the",
    "and",
    "with",
    "in",
    "on",
    "at",
    "near",
    "is",
    "object",
    "picture",
    "image",
    "sentence",
    "describe",
    "please",
    "class",
    "animal",
    "vehicle",
    "person",
    "bird",
    "dog",
    "cat",
    "fish",
    "tree",
    "house",
    "car",
    "boat",
    "water",
    "sky",
    "red",
    "green",
    "blue",
    "black",
    "brown",
    "grey",
    "color",
    "colour",
    "shape",
    "texture",
    "part",
    "background",
    "small",
    "large",
]


def invented_word(rng: random.Random) -> str:
    """One to three syllables: what a class name the model has never seen looks like."""
    onsets, vowels, codas = (
        [
            "b",
            "bl",
            "c",
            "cl",
            "d",
            "dr",
            "f",
            "fl",
            "g",
            "gl",
            "h",
            "j",
            "k",
            "kl",
            "l",
            "m",
            "n",
            "p",
            "pl",
            "qu",
            "r",
            "s",
            "sh",
            "sk",
            "st",
            "t",
            "tr",
            "v",
            "w",
            "y",
            "z",
        ],
        "aeiou",
        ["", "b", "d", "f", "g", "l", "m", "n", "p", "r", "s", "t", "x", "z", "sk", "nd"],
    )
    return "".join(
        rng.choice(onsets) + rng.choice(vowels) + rng.choice(codas) for _ in range(rng.choice((1, 1, 2, 2, 3)))
    )


def _texts(num_scenes: int) -> Iterator[str]:
    rng = random.Random(0)
    for i in range(num_scenes):
        scene = pool_scene(i, "tokenizer")
        yield general_caption(scene)
        yield describe_object(scene.attributes)
        for prompt in TARGETED_PROMPTS:
            yield targeted_caption(scene, prompt)
        name = invented_word(rng)
        yield GENERAL_PROMPT
        yield from (text.format_map({"class": name}) for text in TARGETED_PROMPTS.values())
        other = rng.choice(CLASS_NAMES)
        words = " ".join((invented_word(rng), rng.choice(_ENGLISH), rng.choice(_ENGLISH)))
        yield f"{name} {other} a photo of a {words}."


def train_tokenizer(*, framed: bool, num_scenes: int = 4000) -> "PreTrainedTokenizerFast":
    """The tokenizer; `framed` adds <bos> and <eos> around each text, as the CLIP's text tower wants."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(num_scenes), trainer)
    if framed:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A <eos>", special_tokens=[("<bos>", BOS), ("<eos>", EOS)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        padding_side="right" if framed else "left",
        model_max_length=512,
        extra_special_tokens={"image_token": "<image>"},
    )


def save_tokenizer(folder: Path, *, framed: bool) -> None:
    """Train and write tokenizer.json and tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    train_tokenizer(framed=framed).save_pretrained(folder)
