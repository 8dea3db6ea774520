"""The extra teachers: objectives by closed forms, texts against the grammar, and that a part loads as its kind."""

import math
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from jobs.teachers_extra import main, quality_table
from orchestrator.captioners.texts import DescriptionFilesText
from orchestrator.datasets.shapes import ShapesSettings
from orchestrator.datasets.shapes_grammar import PART_PHRASES
from orchestrator.embedded.class_sentences import sentences
from orchestrator.embedded.extra_quality import text_numbers
from orchestrator.embedded.scene_pool import pool_scene
from orchestrator.embedded.train_beit import MASKED_FRACTION, NUM_PATCHES, masks, patches_of, visual_tokens
from orchestrator.embedded.train_dino import PROTOTYPES, crops, dino_loss
from orchestrator.embedded.train_sentences import pair, paraphrase
from orchestrator.teachers import SentenceTransformersSettings


def test_a_paraphrase_tells_what_it_is_asked_to_and_nothing_else() -> None:
    rng = random.Random(0)
    for index in range(200):
        scene = pool_scene(index, "test")
        told = frozenset(at for at in range(8) if rng.random() < 0.5)
        text, a = paraphrase(scene, told, rng), scene.attributes
        phrases = (a.shape, a.colour, a.texture, PART_PHRASES[a.part], scene.size, scene.place, "", scene.neighbour)
        assert {at for at, phrase in enumerate(phrases) if phrase and phrase in text} == told - {6}
        _, second, values = pair(scene, rng)
        assert (scene.attributes.shape in second) == (0 in dict(values))


def test_dino_s_loss_of_views_that_agree_with_uniform_scores_is_the_log_of_the_prototypes() -> None:
    zero = [torch.zeros(3, PROTOTYPES)] * 2
    assert math.isclose(dino_loss(zero, zero, torch.zeros(PROTOTYPES)).item(), math.log(PROTOTYPES), rel_tol=1e-5)
    sharp = [10 * torch.eye(PROTOTYPES)[:3]] * 2
    assert dino_loss(sharp, sharp, torch.zeros(PROTOTYPES)) < 1e-3
    centred = dino_loss(sharp, sharp, 10 * torch.eye(PROTOTYPES)[:3].sum(0))
    assert centred > 1  # what the centre takes away no longer tells the views apart


def test_a_crop_of_the_whole_area_is_the_image_but_for_light_and_mirror() -> None:
    images = torch.rand(8, 3, 64, 64)
    seen = crops(images, (1.0, 1.0), 64, torch.Generator().manual_seed(0))
    for image, view in zip(images, seen, strict=True):
        best = max(
            torch.corrcoef(torch.stack([one.flatten(), view.flatten()]))[0, 1].item() for one in (image, image.flip(2))
        )
        assert best > 0.9999


def test_masks_hide_the_same_share_of_patches_and_a_patch_is_its_own_nearest_code() -> None:
    hidden = masks(16, torch.Generator().manual_seed(0))
    assert set(hidden.sum(1).tolist()) == {round(MASKED_FRACTION * NUM_PATCHES)}
    images = torch.rand(1, 3, 64, 64)
    assert visual_tokens(images, patches_of(images)[0]).tolist() == [list(range(NUM_PATCHES))]
    assert torch.equal(patches_of(images)[0, 1].view(3, 8, 8), images[0, :, :8, 8:16])


def test_descriptions_are_read_by_the_text_source_and_grow_with_their_level(tmp_path: Path) -> None:
    main(["--quick", "--output", str(tmp_path), "--work", str(tmp_path / "work"), "--part", "descriptions"])
    dataset = ShapesSettings()
    classes = pa.table({"name": _names(dataset)})
    lengths = []
    for level in ("short", "medium", "long"):
        folder = tmp_path / "descriptions"
        source = DescriptionFilesText(labels=str(folder / "labels.txt"), sentences=str(folder / f"{level}.txt"))
        texts = [text for (text,) in source.texts_of_classes(classes, None)]
        assert len(set(texts)) == dataset.num_classes
        for definition, text in zip(dataset.definitions(), texts, strict=True):
            assert sentences(definition)[level] in text
            assert all(word in text for word in (definition.shape, definition.colour or "", definition.texture or ""))
        lengths.append(np.mean([len(text) for text in texts]))
    assert lengths[0] < lengths[1] < lengths[2]
    assert "quick: not for use" in quality_table(tmp_path)


def _names(dataset: ShapesSettings) -> list[str]:
    return list(dict.fromkeys(image_id.split("/")[1] for image_id, _, _ in dataset.scenes("select")))


def test_a_part_loads_as_the_kind_it_names_and_is_not_made_twice(tmp_path: Path) -> None:
    arguments = ["--quick", "--output", str(tmp_path), "--work", str(tmp_path / "work"), "--part", "sentences"]
    main(arguments)
    weights = next((tmp_path / "sentences").rglob("*.safetensors"))
    written = weights.stat().st_mtime_ns
    main(arguments)
    assert weights.stat().st_mtime_ns == written
    numbers = text_numbers(SentenceTransformersSettings(model=str(tmp_path / "sentences")).build_text(), 16)
    assert all(0 <= value <= 1 for value in numbers.values())
    assert not list(tmp_path.glob(".*.part"))
