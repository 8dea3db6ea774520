"""The hashed encoder: deterministic across processes, unit norm, words and colours tell apart."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from orchestrator.teachers.hashed import HashedEncoderSettings

TEXTS = ["a red star", "a blue disc with a tail", "star red a", "A Red STAR"]
ENCODE = """
from orchestrator.teachers.hashed import HashedEncoderSettings
print(HashedEncoderSettings(dim=16).build_text()(["a red star"]).tobytes().hex())
"""


def test_text_embeddings_are_unit_vectors_of_the_words() -> None:
    vectors = HashedEncoderSettings(dim=16).build_text()(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(vectors[2:], vectors[[0, 0]], atol=1e-6)  # neither order nor case matters
    assert vectors[0] @ vectors[1] < 0.9
    wide = HashedEncoderSettings(dim=4096).build_text()(["red star", "red disc", "blue ring"])
    assert abs(wide[0] @ wide[1] - 0.5) < 0.06  # one of two words shared; 4096 random dimensions
    assert abs(wide[0] @ wide[2]) < 0.06


def test_a_text_does_not_depend_on_the_batch_it_is_in() -> None:
    encode = HashedEncoderSettings(dim=16).build_text()
    assert all(np.array_equal(encode(TEXTS)[row], encode([text])[0]) for row, text in enumerate(TEXTS))


def test_another_process_gives_the_same_bits(project: Path) -> None:
    told = subprocess.run([sys.executable, "-c", ENCODE], cwd=project, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == HashedEncoderSettings(dim=16).build_text()(["a red star"]).tobytes().hex()


def test_image_embeddings_are_unit_vectors_and_like_images_are_near() -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (64, 64, 3), np.uint8)
    near = np.clip(pixels.astype(int) + random.integers(-3, 4, pixels.shape), 0, 255).astype(np.uint8)
    images = [Image.fromarray(pixels), Image.fromarray(near), Image.new("RGB", (64, 64), (200, 10, 10))]
    vectors = HashedEncoderSettings(dim=32).build_image()(images)["embedding"]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    assert vectors[0] @ vectors[1] > 0.999
    assert vectors[0] @ vectors[2] < 0.99
    gray = HashedEncoderSettings(dim=32).build_image()([images[0].convert("L"), images[0].convert("L").convert("RGB")])
    assert np.array_equal(*gray["embedding"])


def test_the_scale_of_class_logits_is_no_part_of_the_embeddings_identity() -> None:
    assert HashedEncoderSettings(logit_scale=10).identity() == HashedEncoderSettings(logit_scale=100).identity()
    assert HashedEncoderSettings(dim=8).identity() != HashedEncoderSettings(dim=16).identity()


def test_the_feature_of_an_image_is_the_sum_of_its_cells_tokens() -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (16, 16, 3), np.uint8))
    rows = HashedEncoderSettings(outputs=("embedding", "feature", "tokens")).build_image()([image])
    np.testing.assert_allclose(rows["tokens"].sum(1), rows["feature"], rtol=1e-5)
    np.testing.assert_allclose(rows["feature"] / np.linalg.norm(rows["feature"]), rows["embedding"], rtol=1e-5)
