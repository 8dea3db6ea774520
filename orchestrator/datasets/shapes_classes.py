"""The classes of the embedded world: which attributes make a class, and which its images are free to vary.

Half of the shapes are told apart by colour, whatever their texture and part ("a red star"); the other half by texture
and part, whatever their colour ("a striped ring with a tail"). So a label says only some of what an image shows, a
caption says the rest, and what images of one class leave free decides about another: the situation in which captions
can teach what labels do not. The most frequent classes show every shape once; after them frequent classes are more
often of the first half, rare ones of the second, as rare kinds are often told apart by finer marks. A pure function of
integers; knows nothing of pixels.
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

NUM_PARTS = 2  # parts that tell classes apart; images of classes told apart by colour show all four
COLOUR_SHARE_AMONG_FREQUENT = 0.75
MAX_CLASSES = len(SHAPES) * len(COLOURS)


@dataclass(frozen=True)
class ClassDefinition:
    """A shape, and either a colour or a texture and a part; None is left free."""

    shape: str
    colour: str | None
    texture: str | None
    part: str | None

    def describe(self) -> str:
        """The class description: "a red star" or "a striped ring with a tail"."""
        words = [word for word in (self.colour, self.texture, self.shape) if word is not None]
        tail = f" {PART_PHRASES[self.part]}" if self.part is not None else ""
        return f"{article(words[0])} {' '.join(words)}{tail}"

    def example(self, *key: object) -> Attributes:
        """The attributes of one image: as defined, the free ones drawn uniformly; a pure function of the key."""
        free = random_attributes(*key)
        return Attributes(self.shape, self.colour or free.colour, self.texture or free.texture, self.part or free.part)


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
    half, needed = len(shapes) // 2, (num_classes + 1) // 2
    num_colours = -(-needed // half)
    num_textures = -(-needed // (half * NUM_PARTS))
    by_colour = [
        ClassDefinition(shape, colour, None, None) for shape in shapes[:half] for colour in colours[:num_colours]
    ]
    by_texture = [
        ClassDefinition(shape, None, texture, part)
        for shape in shapes[half:]
        for texture in textures[:num_textures]
        for part in parts[:NUM_PARTS]
    ]
    rng.shuffle(by_colour)
    rng.shuffle(by_texture)
    by_colour, by_texture = by_colour[: num_classes - num_classes // 2], by_texture[: num_classes // 2]
    chosen: list[ClassDefinition] = []
    for half_classes in (by_colour, by_texture):
        for shape in sorted({definition.shape for definition in half_classes}):
            chosen.append(next(definition for definition in half_classes if definition.shape == shape))
            half_classes.remove(chosen[-1])
    rng.shuffle(chosen)
    while by_colour or by_texture:
        frequent = len(chosen) < num_classes / 2
        share = COLOUR_SHARE_AMONG_FREQUENT if frequent else 1 - COLOUR_SHARE_AMONG_FREQUENT
        colour_next = bool(by_colour) and (not by_texture or rng.random() < share)
        chosen.append((by_colour if colour_next else by_texture).pop())
    return chosen
