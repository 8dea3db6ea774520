"""Each encoder against a plain loop in its own library, one image or text at a time, on the same tiny model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from orchestrator.teachers import (
    OpenClipSettings,
    SentenceTransformersSettings,
    TimmEncoderSettings,
    TransformersClipSettings,
    TransformersVisionSettings,
)
from tests import tiny_encoders as tiny

TEXTS = ["a red star", "the striped ring with a tail and a dotted disc of the green star and the blue ring", ""]
PICTURES = [
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40 + 9 * seed, 52, 3), np.uint8)) for seed in range(3)
]
MAPS = ("embedding", "feature", "tokens", "attention")


def loaded(architecture: Any, folder: str, **options: Any) -> Any:
    """A transformers model with eager attention, ready to be run."""
    return architecture.from_pretrained(folder, attn_implementation="eager", **options).eval()


def pixels_of(folder: str) -> list[torch.Tensor]:
    """Each picture through the folder's own image processor."""
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    return [processor(images=picture, return_tensors="pt")["pixel_values"] for picture in PICTURES]


def assert_equal(ours: Any, theirs: list[torch.Tensor]) -> None:
    """Rows against one-row tensors."""
    np.testing.assert_allclose(ours, torch.cat(theirs).numpy(), atol=2e-5, rtol=1e-4)


@torch.inference_mode()
def test_open_clips_own_towers(tmp_path: Path) -> None:
    import open_clip

    folder = tiny.made(tmp_path, tiny.open_clip_vit)
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    encode = OpenClipSettings(model=folder).build_text()
    assert_equal(encode(TEXTS), [model.encode_text(tokenizer([text]), normalize=True) for text in TEXTS])
    only = OpenClipSettings(model=folder).build_image()(PICTURES)
    pixels = [preprocess(picture)[None] for picture in PICTURES]
    assert_equal(only["embedding"], [model.encode_image(one, normalize=True) for one in pixels])
    rows = OpenClipSettings(model=folder, outputs=MAPS).build_image()(PICTURES)
    visual = model.visual
    visual.output_tokens = True
    tokens = [visual(one)[1] for one in pixels]  # open_clip gives them without the class token
    assert_equal(rows["tokens"][:, 1:], tokens)
    np.testing.assert_allclose(rows["feature"], rows["tokens"][:, 0], atol=1e-5)  # this tower pools the class token
    projected = normalize(torch.from_numpy(rows["feature"]) @ visual.proj, dim=-1)
    np.testing.assert_allclose(projected, only["embedding"], atol=1e-5)
    block = visual.transformer.resblocks[-1]
    seen: list[torch.Tensor] = []
    block.register_forward_pre_hook(lambda module, inputs, options: seen.append(options.get("q_x", *inputs[:1])),
                                    with_kwargs=True)  # fmt: skip
    for one in pixels:
        visual(one)
    maps = [block.attn(*[block.ln_1(x)] * 3, need_weights=True, average_attn_weights=False)[1] for x in seen]
    assert_equal(rows["attention"], maps)


@torch.inference_mode()
def test_the_embedded_clip_gives_what_open_clip_gives_bit_for_bit() -> None:
    import open_clip

    from orchestrator.teachers.weights import resolve_model

    name = f"local-dir:{resolve_model('embedded:tiny_clip')}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    model.eval()
    tokens = open_clip.get_tokenizer(name)(TEXTS)
    ours = OpenClipSettings()
    assert np.array_equal(ours.build_text()(TEXTS), model.encode_text(tokens, normalize=True).numpy())
    pixels = torch.stack([preprocess(picture) for picture in PICTURES])
    assert np.array_equal(ours.build_image()(PICTURES)["embedding"], model.encode_image(pixels, normalize=True).numpy())


@pytest.mark.parametrize("make", [tiny.timm_dino, tiny.timm_beit, tiny.timm_convnet])
@torch.inference_mode()
def test_timm(make: Any, tmp_path: Path) -> None:
    import timm
    from timm.utils import AttentionExtract

    folder = tiny.made(tmp_path, make)
    model: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    pixels = [transform(picture)[None] for picture in PICTURES]
    is_vit, has_classes = hasattr(model, "blocks"), model.num_classes > 0
    outputs = ("embedding", "feature", "tokens", *(["attention"] if is_vit else []), *(["logits"] * has_classes))
    rows = TimmEncoderSettings(model=folder, outputs=outputs).build_image()(PICTURES)
    if has_classes:
        assert_equal(rows["logits"], [model(one) for one in pixels])
    if is_vit:
        for block in model.blocks:
            block.attn.fused_attn = False
        last = f"blocks.{len(model.blocks) - 1}.attn.attn_drop"
        extract = AttentionExtract(model, names=[last], method="hook")
        assert_equal(rows["attention"], [extract(one)[last] for one in pixels])
    assert_equal(rows["tokens"], [_flat(model.forward_features(one)) for one in pixels])
    model.reset_classifier(0)
    features = [model(one) for one in pixels]
    assert_equal(rows["feature"], features)
    assert_equal(rows["embedding"], [normalize(feature, dim=-1) for feature in features])


def _flat(features: torch.Tensor) -> torch.Tensor:
    return features if features.ndim == 3 else features.flatten(2).transpose(1, 2)


@torch.inference_mode()
def test_transformers_clip(tmp_path: Path) -> None:
    from transformers import AutoTokenizer, CLIPModel

    folder = tiny.made(tmp_path, tiny.hf_clip)
    model, tokenizer = loaded(CLIPModel, folder), AutoTokenizer.from_pretrained(folder)
    rows = TransformersClipSettings(model=folder, outputs=MAPS).build_image()(PICTURES)
    passes = [model.vision_model(one, output_attentions=True) for one in pixels_of(folder)]
    assert_equal(rows["embedding"], [normalize(model.get_image_features(one).pooler_output, dim=-1)
                                     for one in pixels_of(folder)])  # fmt: skip
    assert_equal(rows["feature"], [one.pooler_output for one in passes])
    assert_equal(rows["tokens"], [model.vision_model.post_layernorm(one.last_hidden_state) for one in passes])
    assert_equal(rows["attention"], [one.attentions[-1] for one in passes])
    np.testing.assert_allclose(rows["feature"], rows["tokens"][:, 0], atol=1e-5)
    texts = [tokenizer(text, truncation=True, return_tensors="pt") for text in TEXTS]
    theirs = [model.get_text_features(one["input_ids"], one["attention_mask"]).pooler_output for one in texts]
    assert_equal(TransformersClipSettings(model=folder).build_text()(TEXTS), [normalize(one, dim=-1) for one in theirs])


@torch.inference_mode()
def test_transformers_blip_for_retrieval_scores_as_the_library_does(tmp_path: Path) -> None:
    from transformers import AutoTokenizer, BlipForImageTextRetrieval

    folder = tiny.made(tmp_path, tiny.hf_blip_retrieval)
    model: Any = BlipForImageTextRetrieval.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = TransformersClipSettings(model=folder, outputs=MAPS).build_image()(PICTURES)
    texts = TransformersClipSettings(model=folder).build_text()(TEXTS)
    for picture, pixels in enumerate(pixels_of(folder)):
        for text, words in enumerate(TEXTS):
            inputs = tokenizer(words, truncation=True, return_tensors="pt")
            told = model(inputs["input_ids"], pixels, use_itm_head=False, attention_mask=inputs["attention_mask"])
            assert float(told.itm_score) == pytest.approx(float(rows["embedding"][picture] @ texts[text]), abs=2e-5)
    passes = [model.vision_model(one, output_attentions=True) for one in pixels_of(folder)]
    assert_equal(rows["tokens"], [one.last_hidden_state for one in passes])
    assert_equal(rows["attention"], [one.attentions[-1] for one in passes])


@torch.inference_mode()
def test_transformers_blip(tmp_path: Path) -> None:
    from transformers import AutoTokenizer, BlipModel

    folder = tiny.made(tmp_path, tiny.hf_blip)
    model: Any = BlipModel.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    images = [normalize(model.get_image_features(one).pooler_output, dim=-1) for one in pixels_of(folder)]
    assert_equal(TransformersClipSettings(model=folder).build_image()(PICTURES)["embedding"], images)
    texts = [tokenizer(text, truncation=True, return_tensors="pt") for text in TEXTS]
    theirs = [model.get_text_features(one["input_ids"], one["attention_mask"]).pooler_output for one in texts]
    assert_equal(TransformersClipSettings(model=folder).build_text()(TEXTS), [normalize(one, dim=-1) for one in theirs])


@torch.inference_mode()
def test_transformers_dino_and_beit(tmp_path: Path) -> None:
    from transformers import AutoModel

    dino = tiny.made(tmp_path, tiny.hf_dino)
    passes = [loaded(AutoModel, dino, add_pooling_layer=False)(one, output_attentions=True) for one in pixels_of(dino)]
    rows = TransformersVisionSettings(model=dino, outputs=MAPS).build_image()(PICTURES)
    assert_equal(rows["tokens"], [one.last_hidden_state for one in passes])
    assert_equal(rows["attention"], [one.attentions[-1] for one in passes])
    assert_equal(rows["feature"], [one.last_hidden_state[:, 0] for one in passes])
    mean = TransformersVisionSettings(model=dino, pooling="mean", outputs=("embedding", "feature"))
    assert_equal(mean.build_image()(PICTURES)["feature"], [one.last_hidden_state[:, 1:].mean(1) for one in passes])
    beit = tiny.made(tmp_path, tiny.hf_beit)
    pooled = [loaded(AutoModel, beit)(one).pooler_output for one in pixels_of(beit)]
    settings = TransformersVisionSettings(model=beit, pooling="pooler", outputs=("embedding", "feature"))
    rows = settings.build_image()(PICTURES)
    assert_equal(rows["feature"], pooled)
    assert_equal(rows["embedding"], [normalize(one, dim=-1) for one in pooled])


@torch.inference_mode()
def test_sentence_transformers(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModel, AutoTokenizer

    folder = tiny.made(tmp_path, tiny.sentence_bert)
    rows = SentenceTransformersSettings(model=folder).build_text()(TEXTS)
    library = SentenceTransformer(folder, device="cpu")
    theirs = [library.encode(text, normalize_embeddings=True, convert_to_tensor=True)[None] for text in TEXTS]
    assert_equal(rows, theirs)
    bert, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    inputs = [tokenizer(text, truncation=True, max_length=12, return_tensors="pt") for text in TEXTS]
    means = [bert(**one).last_hidden_state.mean(1) for one in inputs]  # one text has no padding: a plain mean
    assert_equal(rows, [normalize(mean, dim=-1) for mean in means])
    with_prompt = SentenceTransformersSettings(model=folder, prompt="a photo of ")
    assert with_prompt.identity() != SentenceTransformersSettings(model=folder).identity()
    spelled = SentenceTransformersSettings(model=folder).build_text()(["a photo of a red star"])
    np.testing.assert_allclose(with_prompt.build_text()(["a red star"]), spelled, atol=1e-5)
    assert with_prompt.build_text().num_tokens(["a red star"]) == [8]
