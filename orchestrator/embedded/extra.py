"""More teachers of the embedded world, for comparisons: how each part is made, and how good it is.

A part reads the pool of scenes and the shipped image tower and writes one folder, which the existing kinds load by its
path; its quality is measured through those kinds. Knows nothing of the command line. Imports what is heavy inside.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.datasets.shapes_grammar import Scene
from orchestrator.datasets.shapes_render import render
from orchestrator.embedded.extra_quality import DATASET, Numbers, encoded, probe, text_numbers, zero_shot
from orchestrator.embedded.scene_pool import pool_scene, render_pool
from orchestrator.teachers import (
    HashedEncoderSettings,
    OpenClipSettings,
    SentenceTransformersSettings,
    TransformersClipSettings,
    TransformersVisionSettings,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

TOWER = "test_byobnet"  # of the shipped tiny CLIP and tiny VLM
Progress = Callable[..., None]


@dataclass
class Material:
    """What the parts are made of.

    Attributes:
        work: folder of the pool of scenes.
        num_scenes, num_check: scenes to train on, and unseen ones to measure on.
    """

    work: Path
    num_scenes: int
    num_check: int
    progress: Callable[[str], Progress]

    @cached_property
    def pixels(self) -> Any:
        """uint8 [N, 64, 64, 3], mapped."""
        return render_pool(self.work, self.num_scenes, num_processes=2, progress=self.progress("scenes"))

    @cached_property
    def scenes(self) -> list[Scene]:
        """What the pixels show."""
        return [pool_scene(i) for i in range(self.num_scenes)]

    @cached_property
    def values(self) -> "Tensor":
        """Attribute values, int64 [N, 8]."""
        import torch

        from orchestrator.embedded.train_tower import value_indices

        return torch.tensor([value_indices(scene) for scene in self.scenes])

    @cached_property
    def trunk(self) -> "nn.Module":
        """The shipped image tower, without the projection of the CLIP."""
        import timm
        from safetensors.torch import load_file

        from orchestrator.embedded import TINY_CLIP

        prefix = "visual.trunk."
        state = load_file(Path(TINY_CLIP) / "open_clip_model.safetensors")
        trunk = timm.create_model(TOWER, num_classes=0)
        trunk.load_state_dict({n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)})
        return trunk.eval()


@dataclass(frozen=True)
class Part:
    """One folder.

    Attributes:
        minutes: wall time on one core at the full number of steps, about.
        steps: full number of steps; 0 where nothing is trained.
        make: (material, folder, steps, progress) -> None.
        measure: (material, folder) -> shares 0..1 by name.
        used_as: what an experiment says to use it; FOLDER stands for its path.
    """

    minutes: int
    steps: int
    make: Callable[[Material, Path, int, Progress], None]
    measure: Callable[[Material, Path], Numbers]
    used_as: str


def _vlm(width: int, layers: int) -> Callable[[Material, Path, int, Progress], None]:
    def make(m: Material, folder: Path, steps: int, progress: Progress) -> None:
        from orchestrator.embedded.train_vlm import token_features, train_vlm

        tokens = token_features(TOWER, m.trunk, m.pixels, progress)
        train_vlm(folder, TOWER, m.trunk, tokens, m.scenes, steps=steps, width=width, layers=layers, progress=progress)

    return make


def _measure_vlm(m: Material, folder: Path) -> Numbers:
    from orchestrator.embedded.quality import caption_quality

    found = caption_quality(folder, num_scenes=m.num_check, progress=m.progress("captions"))
    return {f"{name}, {m.num_check} unseen scenes": value for name, value in found.items()}


def _clip(m: Material, folder: Path, steps: int, progress: Progress) -> None:
    from orchestrator.embedded.train_clip import pooled_features, train_clip

    features = [pooled_features(m.trunk, m.pixels, flip=flip, progress=progress) for flip in (False, True)]
    train_clip(folder, TOWER, m.trunk, features, m.scenes, m.values, steps=steps, width=192, layers=4,
               batch_size=min(256, m.num_scenes), progress=progress)  # fmt: skip


def _sentences(m: Material, folder: Path, steps: int, progress: Progress) -> None:
    from orchestrator.embedded.train_sentences import train_sentences

    train_sentences(folder, m.scenes, steps=steps, progress=progress)


def _measure_sentences(m: Material, folder: Path) -> Numbers:
    mine = text_numbers(SentenceTransformersSettings(model=str(folder)).build_text(), m.num_check)
    clip = text_numbers(OpenClipSettings().build_text(), m.num_check)
    hashed = text_numbers(HashedEncoderSettings(dim=96).build_text(), m.num_check)
    return {**mine, **{f"{n} (tiny_clip)": v for n, v in clip.items()},
            **{f"{n} (hashed words)": v for n, v in hashed.items()}}  # fmt: skip


def _blip(m: Material, folder: Path, steps: int, progress: Progress) -> None:
    from orchestrator.embedded.train_blip import train_blip

    train_blip(folder, m.pixels, m.scenes, m.values, steps=steps, progress=progress)


def _measure_blip(m: Material, folder: Path) -> Numbers:
    settings = TransformersClipSettings(model=str(folder))
    return zero_shot(settings.build_text(), settings.build_image(), m.num_check)


def _measure_clip(m: Material, folder: Path) -> Numbers:
    settings = OpenClipSettings(model=str(folder))
    return {
        **zero_shot(settings.build_text(), settings.build_image(), m.num_check),
        **text_numbers(settings.build_text(), m.num_check),
    }


def _dino(m: Material, folder: Path, steps: int, progress: Progress) -> None:
    from orchestrator.embedded.train_dino import train_dino

    train_dino(folder, m.pixels, steps=steps, progress=progress)


def _measure_dino(m: Material, folder: Path) -> Numbers:
    from orchestrator.embedded.train_dino import build_vit

    return _against_untrained(m, folder, "cls", build_vit)


def _beit(m: Material, folder: Path, steps: int, progress: Progress) -> None:
    from orchestrator.embedded.train_beit import train_beit

    half = steps // 2
    train_beit(folder, m.pixels, m.values, steps=half, tuning_steps=steps - half, progress=progress)


def _measure_beit(m: Material, folder: Path) -> Numbers:
    from transformers import BeitModel

    from orchestrator.embedded.train_beit import beit_config

    return _against_untrained(m, folder, "pooler", lambda width, layers: BeitModel(beit_config(width, layers)))


def _against_untrained(m: Material, folder: Path, pooling: Any, build: Callable[[int, int], Any]) -> Numbers:
    """The probe of a transformer, and of one of the same shape with random weights."""
    import tempfile

    import torch

    from orchestrator.embedded.train_dino import save_processor

    def of(path: Path) -> Numbers:
        settings = TransformersVisionSettings(model=str(path), pooling=pooling, outputs=("embedding", "feature"))
        return probe(settings.build_image(), m.num_check)

    with tempfile.TemporaryDirectory() as name:
        torch.manual_seed(0)
        build(128, 4).save_pretrained(name)
        save_processor(Path(name))
        return {**of(folder), **{f"{n} (random weights)": v for n, v in of(Path(name)).items()}}


def _descriptions(m: Material, folder: Path, steps: int, progress: Progress) -> None:
    from orchestrator.embedded.class_sentences import write_sentences

    write_sentences(folder, DATASET)
    progress(1, 1, "")


def _measure_descriptions(m: Material, folder: Path) -> Numbers:
    """Zero-shot accuracy of the shipped CLIP by the descriptions of each level, as the text source gives them."""
    from orchestrator.captioners.texts.description_files import read_label_texts
    from orchestrator.embedded.class_sentences import LABELS, LEVELS

    settings, found = OpenClipSettings(), {}
    texts = settings.build_text()
    rows = list(DATASET.scenes("select"))[::4]
    seen = encoded(settings.build_image(), [render(scene) for _, _, scene in rows], "embedding")
    labels = np.array([label for _, label, _ in rows])
    for level in LEVELS:
        told = [text or "" for _, _, text in read_label_texts(folder / LABELS, folder / f"{level}.txt")]
        over = texts.num_over_length(told)
        found[f"tiny_clip zero-shot by the {level} descriptions"] = float(
            ((seen @ texts(told).T).argmax(1) == labels).mean()
        )
        found[f"{level} descriptions cut at tiny_clip's 40 tokens"] = over / len(told)
    return found


_VISION = "image_teacher: {kind: transformers_vision, model: FOLDER, pooling: "
_SENTENCES = "class_text: {kind: description_files, labels: FOLDER/labels.txt, sentences: FOLDER/long.txt}"
_VLM = "captioner: {kind: transformers, model: FOLDER}"
PARTS: Mapping[str, Part] = {
    "descriptions": Part(1, 0, _descriptions, _measure_descriptions, _SENTENCES),
    "sentences": Part(
        15, 500, _sentences, _measure_sentences, "text_encoder: {kind: sentence_transformers, model: FOLDER}"
    ),
    "clip_wide": Part(20, 600, _clip, _measure_clip, "text_encoder: {kind: open_clip, model: FOLDER}"),
    "vlm_small": Part(10, 1200, _vlm(96, 1), _measure_vlm, _VLM),
    "vlm_large": Part(25, 700, _vlm(224, 3), _measure_vlm, _VLM),
    "blip": Part(20, 1000, _blip, _measure_blip, "image_teacher: {kind: transformers_clip, model: FOLDER}"),
    "dino": Part(20, 600, _dino, _measure_dino, _VISION + "cls}"),
    "beit": Part(15, 1400, _beit, _measure_beit, _VISION + "pooler}"),
}
