"""A small BLIP for retrieval: contrast of images and texts, and matching of pairs by cross-attention.

After Li et al., "BLIP", ICML 2022 (its first two objectives; no momentum copy, no captioning). Hard negatives of the
matching are drawn by similarity, as there. Writes a transformers folder (`BlipForImageTextRetrieval`). Knows nothing of
class lists.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.datasets.shapes_grammar import Scene
from orchestrator.datasets.shapes_render import SIZE
from orchestrator.embedded import teacher_texts
from orchestrator.embedded.optimizing import Progress, optimise
from orchestrator.embedded.tokenizer import BOS, EOS, PAD, VOCABULARY_SIZE, train_tokenizer
from orchestrator.embedded.train_clip import CONTEXT_LENGTH, contrastive_loss, true_of
from orchestrator.embedded.train_tower import MEAN, STD, to_input

FORMS = (teacher_texts.full_text, teacher_texts.class_text, teacher_texts.partial_text)


def build_blip(width: int, layers: int) -> Any:
    """The untrained model: 64 pixels in patches of 8."""
    from transformers import BlipConfig, BlipForImageTextRetrieval

    shared = {"hidden_size": width, "intermediate_size": 3 * width, "num_hidden_layers": layers,
              "num_attention_heads": width // 32}  # fmt: skip
    text = {**shared, "vocab_size": VOCABULARY_SIZE, "max_position_embeddings": CONTEXT_LENGTH,
            "encoder_hidden_size": width, "pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS,
            "sep_token_id": EOS, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # fmt: skip
    vision = {**shared, "image_size": SIZE, "patch_size": 8}
    return BlipForImageTextRetrieval(
        BlipConfig(text_config=text, vision_config=vision, projection_dim=64, image_text_hidden_size=64)
    )


def matching_loss(model: Any, tokens: Tensor, ids: Tensor, similarity: Tensor, right: Tensor) -> Tensor:
    """Cross-entropy of "match" for each true pair and for a hard false text and a hard false image of each.

    Args:
        tokens: [n, T, d] image tokens.
        ids: [n, L] text tokens.
        similarity: [n, n] of images and texts, by which false ones are drawn.
        right: [n, n] bool, whether text j is true of image i.
    """
    count = len(tokens)
    weights = similarity.detach().softmax(1).masked_fill(right, 0) + 1e-9 * ~right
    false_text = torch.multinomial(weights, 1).squeeze(1)
    weights = similarity.detach().T.softmax(1).masked_fill(right.T, 0) + 1e-9 * ~right.T
    false_image = torch.multinomial(weights, 1).squeeze(1)
    images = torch.cat([tokens, tokens, tokens[false_image]])
    texts = torch.cat([ids, ids[false_text], ids])
    hidden = model.text_encoder(
        input_ids=texts, attention_mask=(texts != PAD).long(), encoder_hidden_states=images,
        encoder_attention_mask=torch.ones(images.shape[:2], dtype=torch.long),
    ).last_hidden_state  # fmt: skip
    truth = torch.cat([torch.ones(count), torch.zeros(2 * count)]).long()
    return nn.functional.cross_entropy(model.itm_head(hidden[:, 0]), truth)


def train_blip(
    folder: Path,
    pixels: Any,
    scenes: Sequence[Scene],
    values: Tensor,
    *,
    steps: int,
    width: int = 128,
    layers: int = 3,
    batch_size: int = 64,
    seed: int = 0,
    progress: Progress,
) -> None:
    """Train on pixels uint8 [N, 64, 64, 3] of the scenes and their values [N, 8], and write the folder."""
    from transformers import BlipImageProcessor

    torch.manual_seed(seed)
    model, tokenizer, rng = build_blip(width, layers), train_tokenizer(framed=True), random.Random(seed)
    tokenizer.model_max_length = CONTEXT_LENGTH
    log_scale = nn.Parameter(torch.tensor(2.66))

    def loss_of(rows: Tensor, step: int) -> Tensor:
        images = to_input(pixels[rows.numpy()])
        images = images.flip(3) if rng.random() < 0.5 else images
        texts = [rng.choice(FORMS)(scenes[row], rng) for row in rows.tolist()]
        batch = tokenizer([t.text for t in texts], padding=True, truncation=True, max_length=CONTEXT_LENGTH,
                          return_tensors="pt")  # fmt: skip
        ids, mask = batch["input_ids"], batch["attention_mask"]
        tokens = model.vision_model(pixel_values=images.contiguous()).last_hidden_state
        image = nn.functional.normalize(model.vision_proj(tokens[:, 0]), dim=-1)
        hidden = model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        text = nn.functional.normalize(model.text_proj(hidden[:, 0]), dim=-1)
        right = true_of([t.told for t in texts], values[rows])
        scale = log_scale.clamp(max=4.6052).exp()
        contrast = contrastive_loss(image, text, right, scale)
        return contrast + matching_loss(model, tokens, ids, scale * image @ text.T, right)

    optimise(
        [*model.parameters(), log_scale], loss_of, num_scenes=len(scenes), steps=steps, batch_size=batch_size,
        learning_rate=1e-3, seed=seed, progress=progress,
    )  # fmt: skip
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    side = {"height": SIZE, "width": SIZE}
    BlipImageProcessor(size=side, image_mean=list(MEAN), image_std=list(STD)).save_pretrained(folder)
