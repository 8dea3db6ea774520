"""What the tiny CLIP reads in training: texts that tell all, some or one of the attributes of a scene.

A pure function of scenes and a random stream; reads and writes nothing. Knows nothing of pixels or models.
"""

import random
from dataclasses import dataclass

from orchestrator.datasets.shapes_grammar import (
    BACKGROUND_PHRASES,
    PART_PHRASES,
    Scene,
    article,
    describe_object,
    general_caption,
    targeted_caption,
)
from orchestrator.embedded.tokenizer import invented_word

NUM_ATTRIBUTES = 8  # in the order of train_tower.ATTRIBUTES
_ALL = frozenset(range(NUM_ATTRIBUTES))
_CLASS = frozenset(range(4))
_TOLD_BY = {"T1": _CLASS, "T2": frozenset({1}), "T3": frozenset({0, 3}), "T4": frozenset({2})}


@dataclass(frozen=True)
class Told:
    """A text and the attributes it tells (positions in ATTRIBUTES)."""

    text: str
    told: frozenset[int]


def full_text(scene: Scene, rng: random.Random) -> Told:
    """The general caption."""
    return Told(general_caption(scene), _ALL)


def class_text(scene: Scene, rng: random.Random) -> Told:
    """The four class-defining attributes, in one of the forms in which they are asked for."""
    description = describe_object(scene.attributes)
    name = invented_word(rng)
    forms = (
        description,
        description,
        targeted_caption(scene, "T1"),
        f"a photo of {description}.",
        f"a photo of a {name}, {description}.",
        f"{name}: {description}",
        f"the {name} is {description}.",
    )
    return Told(rng.choice(forms), _CLASS)


def partial_text(scene: Scene, rng: random.Random) -> Told:
    """A targeted answer, or a sentence in which each attribute is told or left out by chance."""
    if rng.random() < 0.4:
        prompt = rng.choice(("T1", "T2", "T3", "T4"))
        return Told(targeted_caption(scene, prompt), _TOLD_BY[prompt])
    chance = rng.random()
    told = frozenset(i for i in range(NUM_ATTRIBUTES) if rng.random() < chance) or frozenset({rng.randrange(4)})
    a = scene.attributes
    words = [w for i, w in ((4, scene.size), (1, a.colour), (2, a.texture), (0, a.shape)) if i in told]
    words = words if 0 in told else [*words, "object"]
    tail = f" {PART_PHRASES[a.part]}" if 3 in told else ""
    places = [
        p
        for i, p in ((6, BACKGROUND_PHRASES[scene.background]), (5, scene.place), (7, f"near a {scene.neighbour}"))
        if i in told
    ]
    text = f"{article(words[0])} {' '.join(words)}{tail}"
    text += (" " if 6 in told else ", ") + ", ".join(places) if places else ""
    return Told(text + ("." if rng.random() < 0.5 else ""), told)
