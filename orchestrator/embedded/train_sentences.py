"""A sentence encoder that never saw an image: a small BERT that brings paraphrases together.

After Reimers and Gurevych, "Sentence-BERT", EMNLP 2019 (mean pooling), with the in-batch contrastive loss of
Henderson et al. 2017. Two texts are paraphrases when they tell the same attributes of the same values, in other words
and another order. Writes a sentence-transformers folder. Knows nothing of pixels or class lists.
"""

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from orchestrator.datasets.shapes_grammar import BACKGROUND_PHRASES, PART_PHRASES, Scene, article
from orchestrator.embedded import teacher_texts
from orchestrator.embedded.optimizing import Progress, optimise
from orchestrator.embedded.tokenizer import PAD, VOCABULARY_SIZE, train_tokenizer
from orchestrator.embedded.train_clip import CONTEXT_LENGTH, contrastive_loss
from orchestrator.embedded.train_tower import value_indices

CONTEXT = 2 * CONTEXT_LENGTH
SCALE = 20.0  # of cosines, as in sentence-transformers' MultipleNegativesRankingLoss


def paraphrase(scene: Scene, told: frozenset[int], rng: random.Random) -> str:
    """The told attributes (positions in ATTRIBUTES) as a phrase or as short sentences, in an order drawn by chance."""
    a = scene.attributes
    noun = a.shape if 0 in told else "object"
    adjectives = [word for at, word in ((1, a.colour), (2, a.texture), (4, scene.size)) if at in told]
    tails = [
        phrase
        for at, phrase in (
            (3, PART_PHRASES[a.part]), (5, scene.place), (6, BACKGROUND_PHRASES[scene.background]),
            (7, f"near a {scene.neighbour}"),
        )
        if at in told
    ]  # fmt: skip
    rng.shuffle(adjectives)
    rng.shuffle(tails)
    if rng.random() < 0.5:
        return " ".join([article((adjectives or [noun])[0]), *adjectives, noun, *tails])
    clauses = [*(f"it is {word}." for word in adjectives), *(f"it is {tail}." for tail in tails)]
    rng.shuffle(clauses)
    return " ".join([f"there is {article(noun)} {noun}.", *clauses])


def pair(scene: Scene, rng: random.Random) -> tuple[str, str, tuple[tuple[int, int], ...]]:
    """Two texts that tell the same of a scene, and what they tell: (attribute, value) of each."""
    form = rng.choice((teacher_texts.full_text, teacher_texts.class_text, teacher_texts.partial_text))
    first = form(scene, rng)
    values = value_indices(scene)
    return first.text, paraphrase(scene, first.told, rng), tuple((at, values[at]) for at in sorted(first.told))


def mean_pooled(model: nn.Module, ids: Tensor) -> Tensor:
    """Unit mean [n, d] of the tokens that are no padding."""
    mask = ids != PAD
    hidden = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    return nn.functional.normalize((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True), dim=-1)


def train_sentences(
    folder: Path,
    scenes: Sequence[Scene],
    *,
    steps: int,
    width: int = 96,
    layers: int = 2,
    batch_size: int = 128,
    seed: int = 0,
    progress: Progress,
) -> None:
    """Train on paraphrases of the scenes and write the folder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    tokenizer = train_tokenizer(framed=True)
    config = BertConfig(
        vocab_size=VOCABULARY_SIZE, hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
        num_attention_heads=width // 32, max_position_embeddings=CONTEXT, pad_token_id=PAD,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model = BertModel(config, add_pooling_layer=False)
    rng = random.Random(seed)

    def embed(texts: list[str]) -> Tensor:
        batch = tokenizer(texts, padding=True, truncation=True, max_length=CONTEXT, return_tensors="pt")
        return mean_pooled(model, batch["input_ids"])

    def loss_of(rows: Tensor, step: int) -> Tensor:
        first, second, told = zip(*(pair(scenes[row], rng) for row in rows.tolist()), strict=True)
        right = torch.tensor([[one == other for other in told] for one in told])
        return contrastive_loss(embed(list(first)), embed(list(second)), right, torch.tensor(SCALE))

    optimise(
        model.parameters(), loss_of, num_scenes=len(scenes), steps=steps, batch_size=batch_size, learning_rate=1e-3,
        seed=seed, progress=progress,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as inner:
        model.eval().save_pretrained(inner)
        tokenizer.model_max_length = CONTEXT
        tokenizer.save_pretrained(inner)
        transformer = Transformer(inner, max_seq_length=CONTEXT)
        pooling = Pooling(transformer.get_embedding_dimension(), "mean")
        SentenceTransformer(modules=[transformer, pooling], device="cpu").save_pretrained(str(folder))
