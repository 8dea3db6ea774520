"""The classes of the embedded world: which attributes make a class, and which its images are free to vary.

Half of the shapes are told apart by colour and part, whatever their texture ("a red star with a tail"); the other half by
texture and part, whatever their colour ("a striped ring with a tail"). So a label says only some of what an image shows,
a caption says the rest, and what an image of one class leaves free decides about another: the situation in which captions
can teach what labels do not. Frequent classes are more often of the first half, rare ones of the second, as rare kinds
are often told apart by finer marks. A pure function of integers; knows nothing of pixels.
"""

import random
from dataclasses import dataclass

from orchestrator.datasets.shapes_grammar import (
    CLASS_NAMES,
    COLOURS,
    PART_PHRASES,
    PARTS,
    SHAPES,
    TEXTURES,
    Attributes,
    article,
    key_of,
    random_attributes,
)
from orchestrator.errors import ConfigError

NUM_PARTS = 2  # parts that occur in definitions; all four occur in no class's images but by definition
COLOUR_SHARE_AMONG_FREQUENT = 0.7
MAX_CLASSES = len(SHAPES) * NUM_PARTS * len(TEXTURES)


@dataclass(frozen=True)
class ClassDefinition:
    """A shape, a part, and either a colour or a texture; None is left free."""

    shape: str
    colour: str | None
    texture: str | None
    part: str

    def describe(self) -> str:
        """The class description, for example "a red star with a tail" or "a striped ring with a tail"."""
        mark = self.colour or self.texture
        assert mark is not None
        return f"{article(mark)} {mark} {self.shape} {PART_PHRASES[self.part]}"

    def example(self, *key: object) -> Attributes:
        """The attributes of one image: as defined, the free one drawn uniformly; a pure function of the key."""
        free = random_attributes(*key)
        return Attributes(self.shape, self.colour or free.colour, self.texture or free.texture, self.part)


def class_definitions(num_classes: int, seed: int) -> list[ClassDefinition]:
    """Definitions of the classes, most frequent first, all different; no image fits two of them.

    Raises:
        ConfigError: more classes than definitions or names.
    """
    limit = min(MAX_CLASSES, len(CLASS_NAMES))
    if not 2 <= num_classes <= limit:
        raise ConfigError(
            f"shapes: num_classes={num_classes}", expected=f"2 to {limit}", remedy="set num_classes in that range"
        )
    rng = random.Random(key_of("class definitions", seed))
    shapes, colours, textures, parts = (
        rng.sample(values, len(values)) for values in (SHAPES, COLOURS, TEXTURES, PARTS)
    )
    half = len(shapes) // 2
    num_marks = -(-((num_classes + 1) // 2) // (half * NUM_PARTS))  # colours, and textures, that are needed
    by_colour = [
        ClassDefinition(shape, colour, None, part)
        for shape in shapes[:half]
        for colour in colours[:num_marks]
        for part in parts[:NUM_PARTS]
    ]
    by_texture = [
        ClassDefinition(shape, None, texture, part)
        for shape in shapes[half:]
        for texture in textures[:num_marks]
        for part in parts[:NUM_PARTS]
    ]
    rng.shuffle(by_colour)
    rng.shuffle(by_texture)
    by_colour, by_texture = by_colour[: num_classes - num_classes // 2], by_texture[: num_classes // 2]
    chosen: list[ClassDefinition] = []
    while by_colour or by_texture:
        frequent = len(chosen) < num_classes / 2
        share = COLOUR_SHARE_AMONG_FREQUENT if frequent else 1 - COLOUR_SHARE_AMONG_FREQUENT
        colour_next = bool(by_colour) and (not by_texture or rng.random() < share)
        chosen.append((by_colour if colour_next else by_texture).pop())
    return chosen
