"""Directories of tiny models with random weights, one for each architecture that an encoder kind must load.

Each is written by the library's own way of saving, so that what is loaded is what a user would have on disk.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from orchestrator.teachers.weights import resolve_model

WORDS = (
    *("a", "an", "the", "red", "blue", "green", "star", "ring", "disc", "tail", "striped", "dotted"),
    *("with", "and", "photo", "of", "ein", "wort", "außerhalb"),
)
CLIP_TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
VISION = {**CLIP_TEXT, "image_size": 32, "patch_size": 8}


def word_tokenizer(folder: Path, *, bert: bool, length: int) -> Any:
    """A tokenizer of whole words, with CLIP's frame (begin, end) or BERT's (class, separator); returns it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    first, last = ("[CLS]", "[SEP]") if bert else ("<begin>", "<end>")
    names = ["[PAD]", "[UNK]", *WORDS, first, last]  # CLIP pools at the highest id: the end
    inner = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [(first, names.index(first)), (last, names.index(last))]
    inner.post_processor = processors.TemplateProcessing(single=f"{first} $A {last}", special_tokens=special)
    frame = {"cls_token": first, "sep_token": last} if bert else {"bos_token": first, "eos_token": last}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", model_max_length=length, **frame
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def scattered(model: Any) -> Any:
    """The model with weights large enough that every one matters; BEiT and BLIP start some at zero."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def open_clip_vit(folder: Path) -> None:
    """An open_clip directory with the library's own vision transformer, and the embedded teacher's tokenizer."""
    import open_clip
    from safetensors.torch import save_file

    shipped = Path(resolve_model("embedded:tiny_clip"))
    config = json.loads((shipped / "open_clip_config.json").read_text())
    vision = {"image_size": 32, "layers": 2, "width": 32, "head_width": 8, "patch_size": 8}
    config["model_cfg"] = {**config["model_cfg"], "embed_dim": 24, "vision_cfg": vision}
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((shipped / name).read_bytes())
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()},
              folder / "open_clip_model.safetensors")  # fmt: skip


def open_clip_plain(folder: Path) -> None:
    """An open_clip directory of the library's first kind of model, whose text tower is no module of its own."""
    import open_clip
    from safetensors.torch import save_file

    open_clip_vit(folder)
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"].pop("custom_text")
    config["model_cfg"]["text_cfg"].pop("pad_id")
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()},
              folder / "open_clip_model.safetensors")  # fmt: skip


def _timm(folder: Path, name: str, **options: Any) -> None:
    import timm
    from timm.models import save_for_hf

    model = timm.create_model(name, **options)
    save_for_hf(scattered(model), folder, model_args=options, safe_serialization=True)


def timm_dino(folder: Path) -> None:
    """A vision transformer without classifier, as DINO's."""
    _timm(folder, "vit_tiny_patch16_224", img_size=64, depth=2, embed_dim=48,
          num_heads=4, num_classes=0)  # fmt: skip


def timm_beit(folder: Path) -> None:
    """BEiT with a classifier of five classes; it pools by the mean and norms after it."""
    _timm(folder, "beit_base_patch16_224", img_size=64, depth=2, embed_dim=48, num_heads=4, num_classes=5)


def timm_convnet(folder: Path) -> None:
    """A convolutional network with a classifier of five classes."""
    _timm(folder, "test_resnet", num_classes=5)


def _processor(folder: Path, name: str) -> None:
    import transformers

    crop = {"crop_size": {"height": 32, "width": 32}} if name == "CLIPImageProcessor" else {}
    size = {"shortest_edge": 32} if crop else {"height": 32, "width": 32}
    getattr(transformers, name)(size=size, **crop).save_pretrained(folder)


def hf_clip(folder: Path) -> None:
    """`CLIPModel`."""
    from transformers import CLIPConfig, CLIPModel

    tokenizer = word_tokenizer(folder, bert=False, length=12)
    text = {**CLIP_TEXT, "vocab_size": len(tokenizer), "max_position_embeddings": 12,
            "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}  # fmt: skip
    scattered(CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=24))).save_pretrained(folder)
    _processor(folder, "CLIPImageProcessor")


def _blip(folder: Path, architecture: str) -> None:
    import transformers

    tokenizer = word_tokenizer(folder, bert=True, length=12)
    text = {**CLIP_TEXT, "vocab_size": len(tokenizer), "max_position_embeddings": 12, "encoder_hidden_size": 32}
    config = transformers.BlipConfig(text_config=text, vision_config=VISION, projection_dim=24,
                                     image_text_hidden_size=24)  # fmt: skip
    scattered(getattr(transformers, architecture)(config)).save_pretrained(folder)
    _processor(folder, "BlipImageProcessor")


def hf_blip_retrieval(folder: Path) -> None:
    """`BlipForImageTextRetrieval`."""
    _blip(folder, "BlipForImageTextRetrieval")


def hf_blip(folder: Path) -> None:
    """`BlipModel`."""
    _blip(folder, "BlipModel")


def hf_blip_captioner(folder: Path) -> None:
    """`BlipForConditionalGeneration`: it has no joint space."""
    _blip(folder, "BlipForConditionalGeneration")


def hf_dino(folder: Path) -> None:
    """A `ViTModel` without pooler, as DINO's checkpoints."""
    from transformers import ViTConfig, ViTModel

    scattered(ViTModel(ViTConfig(**VISION), add_pooling_layer=False)).save_pretrained(folder)
    _processor(folder, "ViTImageProcessor")


def hf_beit(folder: Path) -> None:
    """A `BeitModel` with its pooler, the normalised mean."""
    from transformers import BeitConfig, BeitModel

    scattered(BeitModel(BeitConfig(**VISION, use_mean_pooling=True))).save_pretrained(folder)
    _processor(folder, "BeitImageProcessor")


def sentence_bert(folder: Path) -> None:
    """A `SentenceTransformer` of BERT and mean pooling."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel

    inner = folder.with_name(folder.name + "-bert")
    tokenizer = word_tokenizer(inner, bert=True, length=12)
    scattered(
        BertModel(BertConfig(**CLIP_TEXT, vocab_size=len(tokenizer), max_position_embeddings=12))
    ).save_pretrained(inner)
    transformer = Transformer(str(inner), max_seq_length=12)
    pooling = Pooling(transformer.get_embedding_dimension(), "mean")
    SentenceTransformer(modules=[transformer, pooling], device="cpu").save_pretrained(str(folder))


def _tuned(folder: Path, encoder: Any, *, whole: bool) -> None:
    from safetensors.torch import save_file

    from orchestrator.teachers.class_head import ClassHead

    built = encoder.build_image()
    parts = [("head.", ClassHead(5, built.info["dims"]["embedding"][0]))]
    parts += [("encoder.", scattered(built.module))] if whole else []
    folder.mkdir()
    (folder / "encoder.json").write_text(encoder.model_dump_json())
    named = {f"{prefix}{name}": value for prefix, module in parts for name, value in module.state_dict().items()}
    save_file({name: value.clone() for name, value in named.items()}, folder / "weights.safetensors")


def tuned(folder: Path) -> None:
    """What the stage `tune` writes of a fine-tuned open_clip tower."""
    from orchestrator.teachers import OpenClipSettings

    _tuned(folder, OpenClipSettings(model=made(folder.parent, open_clip_vit)), whole=True)


def tuned_head(folder: Path) -> None:
    """What the stage `tune` writes of a linear probe."""
    from orchestrator.teachers import TimmEncoderSettings

    _tuned(folder, TimmEncoderSettings(model=made(folder.parent, timm_convnet)), whole=False)


def made(folder: Path, make: Callable[[Path], None]) -> str:
    """The directory `folder/NAME` of a maker above, made once; as a setting's value."""
    target = folder / make.__name__
    if not target.is_dir():
        torch.manual_seed(0)
        make(target)
    return str(target)
