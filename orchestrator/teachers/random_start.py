"""An image teacher that begins with random weights, for data that no trained teacher is at hand for.

Writes a folder that the encoder kind `timm` reads; the stage `tune` makes it a classifier of the training images.
"""

from pathlib import Path

WEIGHTS = "model.safetensors"


def make_random_start(model: str, folder: Path, num_classes: int, side: int) -> None:
    """A folder of timm's network `model` with the random weights of seed 0; one that is there is left as it is.

    Args:
        side: of the images that it sees, pixels.
    """
    if (folder / WEIGHTS).is_file():
        return
    import timm
    import torch
    from timm.models import save_for_hf

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = timm.create_model(model, num_classes=num_classes)
    size = (3, side, side)  # timm reads it here, and nowhere else; a resnet10t would see 176 pixels otherwise
    made.pretrained_cfg = {**made.pretrained_cfg, "input_size": size, "test_input_size": size, "crop_pct": 1.0}
    save_for_hf(made, folder, safe_serialization=True)
