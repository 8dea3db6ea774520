"""The tiny VLM: FastVLM's arrangement (convolutional tower, projector, decoder) with the tiny CLIP's tower, frozen.

After Liu et al., "Visual Instruction Tuning" (LLaVA, NeurIPS 2023), and Vasu et al., "FastVLM", CVPR 2025. The
tower's last stage runs dilated, which gives 4 x 4 image tokens from the same weights instead of 2 x 2. It learns the
general and the targeted prompts, with invented class names. Reads scene features; writes a transformers folder for
AutoProcessor and AutoModelForImageTextToText, weights in float16. Knows nothing of class lists or data sets.
"""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn

from orchestrator.datasets.shapes_grammar import (
    GENERAL_PROMPT,
    TARGETED_PROMPTS,
    Scene,
    general_caption,
    targeted_caption,
)
from orchestrator.datasets.shapes_render import SIZE
from orchestrator.embedded.tokenizer import (
    ASSISTANT,
    BOS,
    EOS,
    IMAGE,
    PAD,
    VOCABULARY_SIZE,
    invented_word,
    train_tokenizer,
)
from orchestrator.embedded.train_tower import MEAN, STD, to_input

STRIDE = 16  # pixels of one image token, each way
NUM_IMAGE_TOKENS = (SIZE // STRIDE) ** 2
_IGNORED = -100
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}<user>{% else %}<assistant>{% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{% endif %}"
    "{% if message['role'] != 'user' %}<eos>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def build_processor() -> Any:
    """The LlavaProcessor: 64 px pictures, 16 image tokens, left padding, the chat template."""
    from transformers import CLIPImageProcessor, LlavaProcessor

    image_processor = CLIPImageProcessor(
        size={"height": SIZE, "width": SIZE},
        crop_size={"height": SIZE, "width": SIZE},
        do_center_crop=False,
        image_mean=list(MEAN),
        image_std=list(STD),
    )
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=train_tokenizer(framed=False),
        patch_size=STRIDE,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(tower: str, trunk: nn.Module, *, width: int = 160, layers: int = 2) -> Any:
    """The untrained VLM around a trained tower."""
    from transformers import FastVlmConfig, FastVlmForConditionalGeneration, LlamaConfig, TimmWrapperConfig

    vision = TimmWrapperConfig(
        architecture=tower,
        do_pooling=False,
        model_args={"output_stride": STRIDE},
        hidden_size=trunk.num_features,
        num_classes=0,
    )
    text = LlamaConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 32,
        max_position_embeddings=512,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        tie_word_embeddings=True,
    )
    config = FastVlmConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE,
        image_seq_length=NUM_IMAGE_TOKENS,
        tie_word_embeddings=True,
    )
    model = FastVlmForConditionalGeneration(config)
    model.model.vision_tower.timm_model.load_state_dict(trunk.state_dict())
    model.generation_config.update(
        eos_token_id=EOS, pad_token_id=PAD, bos_token_id=BOS, max_new_tokens=48, do_sample=False
    )
    return model


@torch.no_grad()
def token_features(tower: str, trunk: nn.Module, pixels: Any, progress: Callable[[int, int, str], None]) -> Tensor:
    """Image tokens of all scenes, float16 [N, 16, d]."""
    dense = timm.create_model(tower, num_classes=0, output_stride=STRIDE).eval().to(memory_format=torch.channels_last)
    dense.load_state_dict(trunk.state_dict())
    out: Tensor | None = None
    for start in range(0, len(pixels), 256):
        tokens = dense.forward_features(to_input(pixels[start : start + 256])).flatten(2).transpose(1, 2)
        out = torch.empty(len(pixels), *tokens.shape[1:], dtype=torch.float16) if out is None else out
        out[start : start + len(tokens)] = tokens.half()
        progress(start + len(tokens), len(pixels), "image tokens")
    assert out is not None
    return out


def question_and_answer(scene: Scene, rng: random.Random) -> tuple[str, str]:
    """A prompt and its true answer: half general, half targeted with an invented name of one or two words."""
    if rng.random() < 0.5:
        return GENERAL_PROMPT, general_caption(scene)
    kind = rng.choices(("T1", "T2", "T3", "T4"), (0.4, 0.2, 0.2, 0.2))[0]
    name = invented_word(rng) if rng.random() < 0.8 else f"{invented_word(rng)} {invented_word(rng)}"
    return TARGETED_PROMPTS[kind].format_map({"class": name}), targeted_caption(scene, kind)


def encode(tokenizer: Any, pairs: Sequence[tuple[str, str]]) -> tuple[Tensor, Tensor]:
    """Token ids and labels int64 [N, L] of prompts and answers, padded on the right; labels only on the answers."""
    rows: list[tuple[list[int], list[int]]] = []
    prompts = tokenizer([f"<user>{'<image>' * NUM_IMAGE_TOKENS}{q}<assistant>" for q, _ in pairs]).input_ids
    answers = tokenizer([a for _, a in pairs]).input_ids
    for prompt, answer in zip(prompts, answers, strict=True):
        assert prompt[-1] == ASSISTANT
        rows.append(([*prompt, *answer, EOS], [_IGNORED] * len(prompt) + [*answer, EOS]))
    length = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([i + [PAD] * (length - len(i)) for i, _ in rows])
    labels = torch.tensor([y + [_IGNORED] * (length - len(y)) for _, y in rows])
    return ids, labels


def train_vlm(
    folder: Path,
    tower: str,
    trunk: nn.Module,
    tokens: Tensor,
    scenes: Sequence[Scene],
    *,
    steps: int,
    width: int = 160,
    layers: int = 2,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
    seed: int = 0,
    progress: Callable[[int, int, str], None],
) -> None:
    """Train projector and decoder on the tower's tokens [N, 16, d] of the scenes; write the model into the folder.

    `width` (a multiple of 32) and `layers` are the decoder's.
    """
    torch.manual_seed(seed)
    processor, model = build_processor(), build_model(tower, trunk, width=width, layers=layers)
    projector, decoder, head = model.model.multi_modal_projector, model.model.language_model, model.lm_head
    trained = [*projector.parameters(), *decoder.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.02, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.08)
    rng = random.Random(seed)
    for step in range(steps):
        rows = rng.sample(range(len(scenes)), batch_size)
        ids, labels = encode(processor.tokenizer, [question_and_answer(scenes[row], rng) for row in rows])
        embeddings = decoder.embed_tokens(ids)
        images = projector(tokens[torch.tensor(rows)].float())
        embeddings = embeddings.masked_scatter((ids == IMAGE)[..., None], images)
        hidden = decoder(
            inputs_embeds=embeddings, attention_mask=(ids != PAD).long(), use_cache=False
        ).last_hidden_state
        answered = labels[:, 1:] != _IGNORED
        loss = nn.functional.cross_entropy(head(hidden[:, :-1][answered]), labels[:, 1:][answered])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        if step % 20 == 0 or step + 1 == steps:
            progress(step + 1, steps, f"answer loss {loss:.3f}")
    save(folder, model, processor)


def save(folder: Path, model: Any, processor: Any) -> None:
    """Weights in float16; the configuration says float32, so that they are loaded as such."""
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    model.float()
    processor.save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"float16"', '"float32"'))
    json.loads(path.read_text())


@torch.no_grad()
def answer(
    model: Any, processor: Any, pixels: Sequence[Any], prompts: Sequence[str], *, batch_size: int = 100
) -> list[str]:
    """Greedy answers to one prompt for each picture (uint8 [64, 64, 3]), through the public interfaces only."""
    from PIL import Image

    out: list[str] = []
    for start in range(0, len(prompts), batch_size):
        texts = [
            processor.apply_chat_template(
                [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}],
                add_generation_prompt=True,
            )
            for prompt in prompts[start : start + batch_size]
        ]
        images = [Image.fromarray(np.asarray(p)) for p in pixels[start : start + batch_size]]
        inputs = processor(images=images, text=texts, padding=True, return_tensors="pt")
        made = model.generate(**inputs, max_new_tokens=40, do_sample=False)[:, inputs["input_ids"].shape[1] :]
        out += [text.strip() for text in processor.batch_decode(made, skip_special_tokens=True)]
    return out
