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
from tokenizers import Tokenizer, models, pre_tokenizers, processors

SPECIAL = ("<pad>", "<unk>", "<bos>", "<eos>", "<image>", "<sep>", "<video>", "<see>", "<seen>", "<user>", "<answer>")
PAD, UNK, BOS, EOS, IMAGE, SEP, VIDEO, SEE, SEEN, USER, ANSWER = range(len(SPECIAL))
WORDS = (
    "describe the image in one sentence please color shape texture of dax wug what is this a an red star blue ring "
    "with and on at near green yellow small large dark bright dotted striped plain tail leaf fin wing cloud sea sand snow "
    "north south east west one two three four five six seven eight nine ten glass stone wood iron silver gold copper"
)
VOCABULARY = (*SPECIAL, *dict.fromkeys(WORDS.split()), *(f"word{number}" for number in range(60)))
ENDS = [EOS, *range(len(SPECIAL) + 3, len(VOCABULARY), 10)]
TEMPLATE = (
    "<bos>{% for message in messages %}<user> {% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}IMAGE {% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{% endfor %}{% if add_generation_prompt %} <answer>{% endif %}"
)
_DECODER: dict[str, Any] = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
    "pad_token_id": PAD,
}
_TOWER: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 4,
}


def _tokenizer(frame: str | None, chat: str | None, *, names_image: bool = True) -> Any:
    made = Tokenizer(models.WordLevel({word: at for at, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if frame is not None:
        marks = [(word, VOCABULARY.index(word)) for word in frame.split() if word != "$A"]
        made.post_processor = processors.TemplateProcessing(single=frame, special_tokens=marks)
    wrapped = hf.PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<eos>",
        extra_special_tokens={"image_token": "<image>", "video_token": "<video>"} if names_image else {},
    )
    wrapped.add_special_tokens({"additional_special_tokens": ["<sep>", "<see>", "<seen>", "<user>", "<answer>"]})
    wrapped.chat_template = chat
    return wrapped


def _save(folder: Path, model: Any, holder: Any) -> Path:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(0.0, 1.5 / weight[0].numel() ** 0.5, generator=generator)
    if model.can_generate():
        model.generation_config.eos_token_id = ENDS
    model.save_pretrained(folder)
    holder.save_pretrained(folder)
    return folder


def _clip_pixels(**options: Any) -> dict[str, Any]:
    size = {"height": 16, "width": 16}
    return {"size": size, "crop_size": size, "do_center_crop": False, **options}


def llava_next(folder: Path, *, sliding_window: int | None = None) -> Path:
    """LLaVA-NeXT with a Mistral decoder; images of other shapes have other numbers of tokens."""
    points = [[16, 32], [32, 16], [32, 32]]
    config = hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(**_TOWER),
        text_config=hf.MistralConfig(**_DECODER, sliding_window=sliding_window),
        image_token_index=IMAGE,
        image_grid_pinpoints=points,
    )
    pixels = hf.LlavaNextImageProcessor(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}, image_grid_pinpoints=points
    )
    processor = hf.LlavaNextProcessor(
        pixels,
        _tokenizer("<bos> $A", None),
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE.replace("IMAGE", "<image>"),
    )
    return _save(folder, hf.LlavaNextForConditionalGeneration(config), processor)


def llava(folder: Path) -> Path:
    """LLaVA with a Llama decoder."""
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**_TOWER), text_config=hf.LlamaConfig(**_DECODER), image_token_index=IMAGE
    )
    return _save(folder, hf.LlavaForConditionalGeneration(config), _llava_processor())


def vip_llava(folder: Path) -> Path:
    """ViP-LLaVA: a family that no table names."""
    config = hf.VipLlavaConfig(
        vision_config=hf.CLIPVisionConfig(**_TOWER),
        text_config=hf.LlamaConfig(**_DECODER),
        image_token_index=IMAGE,
        vision_feature_layers=[-1, -2],
    )
    return _save(folder, hf.VipLlavaForConditionalGeneration(config), _llava_processor())


def _llava_processor() -> Any:
    return hf.LlavaProcessor(
        hf.CLIPImageProcessor(**_clip_pixels()),
        _tokenizer("<bos> $A", None),
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE.replace("IMAGE", "<image>"),
    )


def _qwen(folder: Path, model: Any, config: Any, vision: dict[str, Any]) -> Path:
    decoder = {**_DECODER, "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}}
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
        _tokenizer(None, None),
        hf.Qwen2VLVideoProcessor(**cut),
        chat_template=TEMPLATE.replace("IMAGE", "<see> <image> <seen>"),
    )
    return _save(folder, model(made), processor)


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
    return model(hf.BlipConfig(text_config=text, vision_config=_TOWER, initializer_range=0.5))


def blip(folder: Path) -> Path:
    """BLIP's captioner."""
    processor = hf.BlipProcessor(
        hf.BlipImageProcessor(size={"height": 16, "width": 16}), _tokenizer("<bos> $A <sep>", None)
    )
    model = _blip_parts(hf.BlipForConditionalGeneration)
    torch.nn.init.constant_(model.text_decoder.cls.predictions.bias[SEP : SEP + 1], 5.0)  # its one end of answers
    return _save(folder, model, processor)


def blip_retrieval(folder: Path) -> Path:
    """BLIP's retrieval model, which has the name of the architecture but no decoder."""
    return _save(folder, _blip_parts(hf.BlipForImageTextRetrieval), _tokenizer(None, None))


def _blip_2(folder: Path, text_config: Any, frame: str) -> Path:
    queries = {"vocab_size": len(VOCABULARY), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    queries |= {"intermediate_size": 32, "encoder_hidden_size": 24, "max_position_embeddings": 64}
    config = hf.Blip2Config(
        vision_config=_TOWER,
        qformer_config=queries,
        text_config=text_config,
        num_query_tokens=4,
        image_token_index=IMAGE,
        initializer_range=0.5,
    )
    processor = hf.Blip2Processor(
        hf.BlipImageProcessor(size={"height": 16, "width": 16}),
        _tokenizer(frame, None, names_image=False),
        num_query_tokens=4,
    )
    return _save(folder, hf.Blip2ForConditionalGeneration(config), processor)


def blip_2(folder: Path) -> Path:
    """BLIP-2 with OPT, a decoder."""
    sizes = {name: _DECODER[name] for name in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")}
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
    tokenizer = _tokenizer("<bos> $A", TEMPLATE.replace("IMAGE", ""))
    return _save(folder, hf.LlamaForCausalLM(hf.LlamaConfig(**_DECODER)), tokenizer)


def silent_llama(folder: Path) -> Path:
    """A language model whose likeliest token is always padding."""
    model = hf.LlamaForCausalLM(hf.LlamaConfig(**_DECODER, tie_word_embeddings=False))
    _save(folder, model, _tokenizer("<bos> $A", TEMPLATE.replace("IMAGE", "")))
    torch.nn.init.zeros_(model.lm_head.weight)
    model.save_pretrained(folder)
    return folder


def vit(folder: Path) -> Path:
    """A model that writes nothing."""
    return _save(folder, hf.ViTModel(hf.ViTConfig(**_TOWER)), _tokenizer(None, None))


BUILDERS: dict[str, Callable[[Path], Path]] = {
    "llava_next": llava_next,
    "llava_next_sliding": lambda folder: llava_next(folder, sliding_window=24),
    "llava": llava,
    "vip_llava": vip_llava,
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
