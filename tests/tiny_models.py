"""Directories of real architectures with tiny random weights, as `save_pretrained` writes them.

Each holds configuration, weights, tokenizer and, for models that see, a processor. Weights are drawn so wide that
answers differ from image to image and from prompt to prompt; a tenth of the vocabulary ends an answer, so that rows of
a batch end at different lengths. Knows nothing of the captioners.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf

from tests.tiny_parts import (
    BOS,
    DECODER,
    ENDS,
    EOS,
    IMAGE,
    PAD,
    SEE,
    SEEN,
    SEP,
    TEMPLATE,
    TOWER,
    VIDEO,
    VOCABULARY,
    save,
    tokenizer,
)


def _clip_pixels(**options: Any) -> dict[str, Any]:
    size = {"height": 16, "width": 16}
    return {"size": size, "crop_size": size, "do_center_crop": False, **options}


def llava_next(folder: Path, *, sliding_window: int | None = None) -> Path:
    """LLaVA-NeXT with a Mistral decoder; images of other shapes have other numbers of tokens."""
    points = [[16, 32], [32, 16], [32, 32]]
    config = hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(**TOWER),
        text_config=hf.MistralConfig(**DECODER, sliding_window=sliding_window),
        image_token_index=IMAGE,
        image_grid_pinpoints=points,
    )
    pixels = hf.LlavaNextImageProcessor(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}, image_grid_pinpoints=points
    )
    processor = hf.LlavaNextProcessor(
        pixels,
        tokenizer("<bos> $A", None),
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE.replace("IMAGE", "<image>"),
    )
    return save(folder, hf.LlavaNextForConditionalGeneration(config), processor)


def llava(folder: Path) -> Path:
    """LLaVA with a Llama decoder."""
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**TOWER), text_config=hf.LlamaConfig(**DECODER), image_token_index=IMAGE
    )
    return save(folder, hf.LlavaForConditionalGeneration(config), _llava_processor())


def vip_llava(folder: Path) -> Path:
    """ViP-LLaVA: a family that no table names."""
    config = hf.VipLlavaConfig(
        vision_config=hf.CLIPVisionConfig(**TOWER),
        text_config=hf.LlamaConfig(**DECODER),
        image_token_index=IMAGE,
        vision_feature_layers=[-1, -2],
    )
    return save(folder, hf.VipLlavaForConditionalGeneration(config), _llava_processor())


def gemma3(folder: Path) -> Path:
    """Gemma 3: image tokens see each other in both directions, and the decoder's windows slide."""
    siglip = {**TOWER, "vision_use_head": False}
    config = hf.Gemma3Config(
        vision_config=siglip,
        text_config={
            **DECODER,
            "head_dim": 8,
            "sliding_window": 16,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        mm_tokens_per_image=4,
        image_token_index=IMAGE,
        boi_token_index=SEE,
        eoi_token_index=SEEN,
    )
    pixels = hf.Gemma3ImageProcessor(size={"height": 16, "width": 16}, do_pan_and_scan=False)
    chat = TEMPLATE.replace("IMAGE", "<see>")
    processor = hf.Gemma3Processor(pixels, tokenizer("<bos> $A", None), chat_template=chat, image_seq_length=4)
    return save(folder, hf.Gemma3ForConditionalGeneration(config), processor)


def _llava_processor() -> Any:
    return hf.LlavaProcessor(
        hf.CLIPImageProcessor(**_clip_pixels()),
        tokenizer("<bos> $A", None),
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE.replace("IMAGE", "<image>"),
    )


def _qwen(folder: Path, model: Any, config: Any, vision: dict[str, Any]) -> Path:
    decoder = {**DECODER, "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}}
    numbers = {
        "image_token_id": IMAGE,
        "video_token_id": VIDEO,
        "vision_start_token_id": SEE,
        "vision_end_token_id": SEEN,
    }
    made = config(text_config=decoder, vision_config={"patch_size": 4, "in_channels": 3, **vision}, **numbers)
    cut = {"patch_size": 4, "merge_size": 2, "size": {"shortest_edge": 16 * 16, "longest_edge": 40 * 40}}
    processor = hf.Qwen2VLProcessor(
        hf.Qwen2VLImageProcessor(**cut),
        tokenizer(None, None),
        hf.Qwen2VLVideoProcessor(**cut),
        chat_template=TEMPLATE.replace("IMAGE", "<see> <image> <seen>"),
    )
    return save(folder, model(made), processor)


def qwen2_vl(folder: Path) -> Path:
    """Qwen2-VL: any resolution, M-RoPE."""
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2}
    return _qwen(folder, hf.Qwen2VLForConditionalGeneration, hf.Qwen2VLConfig, vision)


def qwen2_5_vl(folder: Path) -> Path:
    """Qwen2.5-VL: window attention in the tower, M-RoPE."""
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 32}
    vision |= {"window_size": 16, "fullatt_block_indexes": [1]}
    return _qwen(folder, hf.Qwen2_5_VLForConditionalGeneration, hf.Qwen2_5_VLConfig, vision)


def _blip_parts(model: Any) -> Any:
    text = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "sep_token_id": SEP,
        "pad_token_id": PAD,
    }
    return model(hf.BlipConfig(text_config=text, vision_config=TOWER, initializer_range=0.5))


def blip(folder: Path) -> Path:
    """BLIP's captioner."""
    processor = hf.BlipProcessor(
        hf.BlipImageProcessor(size={"height": 16, "width": 16}), tokenizer("<bos> $A <sep>", None)
    )
    model = _blip_parts(hf.BlipForConditionalGeneration)
    torch.nn.init.constant_(model.text_decoder.cls.predictions.bias[SEP : SEP + 1], 5.0)  # its one end of answers
    return save(folder, model, processor)


def blip_retrieval(folder: Path) -> Path:
    """BLIP's retrieval model, which has the name of the architecture but no decoder."""
    return save(folder, _blip_parts(hf.BlipForImageTextRetrieval), tokenizer(None, None))


def _blip_2(folder: Path, text_config: Any, frame: str) -> Path:
    queries = {"vocab_size": len(VOCABULARY), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    queries |= {"intermediate_size": 32, "encoder_hidden_size": 24, "max_position_embeddings": 64}
    config = hf.Blip2Config(
        vision_config=TOWER,
        qformer_config=queries,
        text_config=text_config,
        num_query_tokens=4,
        image_token_index=IMAGE,
        initializer_range=0.5,
    )
    processor = hf.Blip2Processor(
        hf.BlipImageProcessor(size={"height": 16, "width": 16}),
        tokenizer(frame, None, names_image=False),
        num_query_tokens=4,
    )
    return save(folder, hf.Blip2ForConditionalGeneration(config), processor)


def blip_2(folder: Path) -> Path:
    """BLIP-2 with OPT, a decoder."""
    sizes = {name: DECODER[name] for name in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")}
    opt = hf.OPTConfig(
        **sizes,
        ffn_dim=48,
        word_embed_proj_dim=32,
        max_position_embeddings=128,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=ENDS,
    )
    return _blip_2(folder, opt, "<bos> $A")


def blip_2_t5(folder: Path) -> Path:
    """BLIP-2 with T5, an encoder and decoder."""
    t5 = hf.T5Config(
        vocab_size=len(VOCABULARY),
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        pad_token_id=PAD,
        eos_token_id=ENDS,
        decoder_start_token_id=PAD,
    )
    return _blip_2(folder, t5, "$A <eos>")


def llama(folder: Path) -> Path:
    """A language model with a chat template."""
    chats = tokenizer("<bos> $A", TEMPLATE.replace("IMAGE", ""))
    return save(folder, hf.LlamaForCausalLM(hf.LlamaConfig(**DECODER)), chats)


def silent_llama(folder: Path) -> Path:
    """A language model whose likeliest token is always padding."""
    model = hf.LlamaForCausalLM(hf.LlamaConfig(**DECODER, tie_word_embeddings=False))
    save(folder, model, tokenizer("<bos> $A", TEMPLATE.replace("IMAGE", "")))
    torch.nn.init.zeros_(model.lm_head.weight)
    model.save_pretrained(folder)
    return folder


def vit(folder: Path) -> Path:
    """A model that writes nothing."""
    return save(folder, hf.ViTModel(hf.ViTConfig(**TOWER)), tokenizer(None, None))


BUILDERS: dict[str, Callable[[Path], Path]] = {
    "llava_next": llava_next,
    "llava_next_sliding": lambda folder: llava_next(folder, sliding_window=24),
    "llava": llava,
    "vip_llava": vip_llava,
    "gemma3": gemma3,
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "blip": blip,
    "blip_retrieval": blip_retrieval,
    "blip_2": blip_2,
    "blip_2_t5": blip_2_t5,
    "llama": llama,
    "silent_llama": silent_llama,
    "vit": vit,
}
