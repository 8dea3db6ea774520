"""What the tiny models are put together from: a vocabulary, a chat template, sizes, random weights.

Knows nothing of families.
"""

from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers, processors

SPECIAL = ("<pad>", "<unk>", "<bos>", "<eos>", "<image>", "<sep>", "<video>", "<see>", "<seen>", "<user>", "<answer>")
PAD, UNK, BOS, EOS, IMAGE, SEP, VIDEO, SEE, SEEN, USER, ANSWER = range(len(SPECIAL))
WORDS = (
    "describe the image in one sentence please color shape texture of dax wug what is this a an red star blue ring "
    "with and on at near green yellow small large dark bright dotted striped plain tail leaf fin wing cloud "
    "sea sand snow north south east west one two three four five "
    "six seven eight nine ten glass stone wood iron silver gold copper"
)
VOCABULARY = (*SPECIAL, *dict.fromkeys(WORDS.split()), *(f"word{number}" for number in range(60)))
_NAMED = {"image_token": "<image>", "video_token": "<video>", "boi_token": "<see>", "eoi_token": "<seen>"}
ENDS = [EOS, *range(len(SPECIAL) + 3, len(VOCABULARY), 10)]
TEMPLATE = (
    "<bos>{% for message in messages %}<user> {% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}IMAGE {% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{% endfor %}{% if add_generation_prompt %} <answer>{% endif %}"
)
DECODER: dict[str, Any] = {
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
TOWER: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 4,
}


def tokenizer(frame: str | None, chat: str | None, *, names_image: bool = True) -> Any:
    """A tokenizer of whole words, which frames a text like "<bos> $A"; most processors want it to name the image."""
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
        extra_special_tokens=_NAMED if names_image else {},
    )
    wrapped.add_special_tokens(
        {"additional_special_tokens": ["<sep>", "<user>", "<answer>"] + [*_NAMED.values()] * (not names_image)}
    )
    wrapped.chat_template = chat
    return wrapped


def save(folder: Path, model: Any, holder: Any) -> Path:
    """Draw the weights, and write the model with its processor or tokenizer."""
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
