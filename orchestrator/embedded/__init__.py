"""How the embedded teachers (tokenizer, tiny CLIP, tiny VLM) were trained, and where their shipped weights lie."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
TINY_CLIP = WEIGHTS / "tiny_clip"
TINY_VLM = WEIGHTS / "tiny_vlm"
