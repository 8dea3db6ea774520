"""What the prompts of one image share, family by family.

Holds a table and the search for the prefix that prompts have in common. Knows nothing of models' code.

| `model_type`         | shared | because                                                                      |
|----------------------|--------|------------------------------------------------------------------------------|
| fast_vlm, llava      | prefix | image tokens are ordinary causal positions of the decoder                    |
| llava_next           | prefix | the same; the number of image tokens differs from image to image             |
| qwen2_vl, qwen2_5_vl | prefix | the same; M-RoPE positions are computed for whole rows and cut with them     |
| blip                 | image  | the decoder reads the image by cross-attention: there is no prefix to share  |
| blip-2               | image  | the few query tokens (32) are cheaper to read again than to copy             |
| any other            | none   | nobody has tested it here: every (image, prompt) row is computed whole       |

`prefix` becomes `image` for a decoder with sliding windows or a state, whose cache cannot hold the padding between a
shared prefix and its suffixes.
"""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Literal

Sharing = Literal["prefix", "image", "none"]

SHARING: Mapping[str, Sharing] = {
    "fast_vlm": "prefix",
    "llava": "prefix",
    "llava_next": "prefix",
    "qwen2_vl": "prefix",
    "qwen2_5_vl": "prefix",
    "blip": "image",
    "blip-2": "image",
}


def sharing_of(model_type: str) -> Sharing:
    """The table's word for a `config.json`'s `model_type`."""
    return SHARING.get(model_type, "none")


def shared_lengths(rows: Sequence[Sequence[int]], owners: Sequence[int], image_token: int) -> list[int] | None:
    """How many leading tokens the rows of each image share, at least up to the last image token.

    Beyond the image tokens, all rows of all images are cut at the same distance, so that suffixes are about as long as
    prompts; every row keeps at least one token of its own.

    Args:
        rows: token ids of each (image, prompt), without padding.
        owners: the image of each row: 0 for the first rows, then 1, and so on.

    Returns:
        A length for each image; None if some image's rows differ before its last image token, or nothing follows it.
    """
    ends = [max(at for at, token in enumerate(row) if token == image_token) + 1 for row in rows]
    firsts = [owners.index(owner) for owner in range(owners[-1] + 1)]
    heads = [row[:end] for row, end in zip(rows, ends, strict=True)]
    if any(list(head) != list(heads[firsts[owner]]) for head, owner in zip(heads, owners, strict=True)):
        return None
    tails = [row[end:] for row, end in zip(rows, ends, strict=True)]
    room = min(len(tail) for tail in tails) - 1
    if room < 0:
        return None
    common = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*tails, strict=False)))
    return [ends[first] + min(common, room) for first in firsts]
