"""Licences of well-known models' weights, as their publishers state them; for the model card.

Holds a small table. Reads and writes nothing. What is not in it is unknown, and said so.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase

UNKNOWN = "unknown"
KNOWN = {  # pattern of a model's id -> licence of its weights
    "embedded:*": "Apache-2.0 (trained by this project)",
    "openai/clip-vit-*": "MIT",
    "laion/CLIP-ViT-*": "MIT",
    "facebook/dino-*": "Apache-2.0",
    "facebook/dinov2-*": "Apache-2.0",
    "microsoft/beit-*": "Apache-2.0",
    "Salesforce/blip-*": "BSD-3-Clause",
    "Salesforce/blip2-opt-*": "MIT",
    "sentence-transformers/all-mpnet-base-v2": "Apache-2.0",
    "llava-hf/llava-v1.6-mistral-7b-hf": "Apache-2.0",
    "llava-hf/llava-v1.6-vicuna-*": "Llama 2 Community License",
    "llava-hf/llava-1.5-*": "Llama 2 Community License",
    "Qwen/Qwen2-VL-2B-Instruct": "Apache-2.0",
    "Qwen/Qwen2-VL-7B-Instruct": "Apache-2.0",
}


def licence_of(model: str, stated: Mapping[str, str]) -> str:
    """The licence of a model: what the user states, else what the table knows, else `unknown`."""
    if model in stated:
        return stated[model]
    return next((licence for pattern, licence in KNOWN.items() if fnmatchcase(model, pattern)), UNKNOWN)
