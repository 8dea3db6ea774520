"""The student of this folder, ready to use; needs torch, timm, safetensors, numpy and pillow alone.

    python use_student.py IMAGE [IMAGE ...]      prints path, class and score of each image

In Python: `student = Student("FOLDER")`, then `student.predict(images)` of PIL images, or `student.network(pixels)` of
`student.pixels(images)`. Reads `config.json`, `backbone.safetensors` (timm's own format where the backbone is timm's)
and `head.safetensors`. Knows nothing of how the student was trained.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch import Tensor, nn

LOADED_MEAN, LOADED_STD = 0.5, 0.25  # pixels are scaled so first, in training too: the last bits are then the same


class CosineClassifier(nn.Module):
    """feature [N, d] -> scale * cosine to the vector of each class, [N, C]."""

    def __init__(self, width: int, num_classes: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(num_classes, width))

    def forward(self, feature: Tensor) -> Tensor:
        return self.scale * _unit(feature) @ _unit(self.weight).T


def _unit(rows: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows / torch.where(length > 1e-12, length, torch.ones_like(length))


class Mean(nn.Module):
    """[N, c, h, w] -> [N, c], the mean over positions."""

    def forward(self, positions: Tensor) -> Tensor:
        return positions.mean(dim=(2, 3))


LAYERS: dict[str, Any] = {
    "linear": nn.Linear,
    "conv": nn.Conv2d,
    "batch_norm": nn.BatchNorm1d,
    "batch_norm_2d": nn.BatchNorm2d,
    "relu": nn.ReLU,
    "mean": Mean,
    "cosine": CosineClassifier,
}


def layers(described: Sequence[dict[str, Any]]) -> nn.Sequential:
    """The modules that config.json describes: `kind`, and the arguments of its constructor."""
    return nn.Sequential(*(LAYERS[one["kind"]](**{k: v for k, v in one.items() if k != "kind"}) for one in described))


class Network(nn.Module):
    """Normalised images [N, 3, S, S] -> `feature`, and where there are such `embedding`, `logits`, `cosines`.

    `cosines` [N, C] are those of the embedding to the class texts. Call `eval()` before use; `Student` does.
    """

    class_embeddings: Tensor

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        described = config["backbone"]
        self.is_timm = described["kind"] == "timm"
        self.backbone: Any = (
            timm.create_model(described["name"], pretrained=False, num_classes=0, **described["options"])
            if self.is_timm
            else layers(described["layers"])
        )
        self.heads = nn.ModuleDict({name: layers(head) for name, head in config["heads"].items()})
        self.classifier_reads: str = config["classifier_reads"]
        self.has_class_texts = config["class_embeddings"] is not None
        if self.has_class_texts:
            self.register_buffer("class_embeddings", torch.empty(*config["class_embeddings"]))

    def load(self, folder: Path) -> "Network":
        """The weights of an export, all of them or an error."""
        self.backbone.load_state_dict(load_file(folder / "backbone.safetensors"))
        tensors = load_file(folder / "head.safetensors")
        if self.has_class_texts:
            self.class_embeddings.copy_(tensors.pop("class_embeddings"))
        self.heads.load_state_dict(tensors)
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """See the class."""
        if self.is_timm:
            feature = self.backbone.forward_head(self.backbone.forward_features(images), pre_logits=True)
        else:
            feature = self.backbone(images)
        made = {"feature": feature}
        for name in ("embedding", "adaptor"):
            if name in self.heads:
                made[name] = self.heads[name](feature)
        if "classifier" in self.heads:
            made["logits"] = self.heads["classifier"](made[self.classifier_reads])
        if self.has_class_texts:
            made["cosines"] = F.normalize(made["embedding"], dim=1) @ self.class_embeddings.T
        return made


class Student:
    """An exported student: the network in evaluation mode, its preprocessing and the names of its classes."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.config: dict[str, Any] = json.loads((self.folder / "config.json").read_text())
        self.network = Network(self.config).load(self.folder).eval()
        self.classes: list[str] = self.config["classes"]

    def pixels(self, images: Sequence[Image.Image]) -> Tensor:
        """Images of any size and mode -> the network's input [N, 3, S, S] float32."""
        return normalised(np.stack([square(one, self.config["preprocessing"]) for one in images]), self.config)

    @torch.inference_mode()
    def predict(self, images: Sequence[Image.Image]) -> list[tuple[str, float]]:
        """(class, probability) of each image; of an embedding student by the cosines to its class texts."""
        score, label = self.probabilities(self.network(self.pixels(images))).max(dim=1)
        return [(self.classes[one], value) for one, value in zip(label.tolist(), score.tolist(), strict=True)]

    def probabilities(self, made: dict[str, Tensor]) -> Tensor:
        """[N, C] of the network's outputs."""
        if "logits" in made:
            return made["logits"].softmax(dim=1)
        if "cosines" not in made:
            raise ValueError("this student has neither a classifier nor class texts: it makes embeddings only")
        return (made["cosines"] / self.config["temperature"]).softmax(dim=1)


def normalised(pixels: "np.ndarray[Any, np.dtype[np.uint8]]", config: dict[str, Any]) -> Tensor:
    """[N, S, S, 3] uint8 -> [N, 3, S, S] float32 with the mean and deviation of config.json."""
    images = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).to(torch.float32)
    images = images.mul_(1 / (255 * LOADED_STD)).sub_(LOADED_MEAN / LOADED_STD)
    mean, std = (torch.tensor(config["preprocessing"][name]).view(1, -1, 1, 1) for name in ("mean", "std"))
    if bool((mean == LOADED_MEAN).all()) and bool((std == LOADED_STD).all()):
        return images
    return images * (LOADED_STD / std) + (LOADED_MEAN - mean) / std


def square(image: Image.Image, preprocessing: dict[str, Any]) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """[S, S, 3] uint8: scaled to `frame_size` as `framing` says, of which the centre `image_size` is taken."""
    image, frame, side = rgb(image), preprocessing["frame_size"], preprocessing["image_size"]
    if image.size != (frame, frame):
        if preprocessing["framing"] == "stretch":
            image = image.resize((frame, frame), Image.Resampling.BICUBIC)
        else:
            image = ImageOps.fit(image, (frame, frame), Image.Resampling.BICUBIC)
    edge = (frame - side) // 2
    return np.asarray(image, np.uint8)[edge : edge + side, edge : edge + side]


def rgb(image: Image.Image) -> Image.Image:
    """Upright, 8 bits, transparency on white."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode == "I":
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        picture = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return image.convert("RGB")


def main(paths: Sequence[str]) -> None:
    """Print path, class and score of each image."""
    student = Student(Path(__file__).resolve().parent)
    for path in paths:
        with Image.open(path) as image:
            name, score = student.predict([image])[0]
        print(f"{path}\t{name}\t{score:.4f}")


if __name__ == "__main__":
    main(sys.argv[1:])
