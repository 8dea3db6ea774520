"""The words of the embedded world `shapes`: attributes, class list, scenes, captions, prompts.

Everything is a pure function of integers; no file is read or written. Knows nothing of pixels, of data set folders,
or of models. A scene has four attributes that define its class (shape, colour, texture, part) and four that do not
(size, place, background, neighbour); everything else that a renderer draws (light, clutter, rotation, noise) follows
from `nuisance_seed`.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

SHAPES = ("disc", "square", "triangle", "star", "cross", "ring", "crescent", "heart")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
TEXTURES = ("plain", "striped", "dotted", "checked")
PARTS = ("eyes", "rim", "horns", "tail")
SIZES = ("small", "medium", "large")
# Only places that a mirror leaves true: training flips images, and a caption must still describe the flipped one.
PLACES = ("in the middle", "at the top", "at the bottom", "at the side", "in a corner")
BACKGROUNDS = ("sand", "grass", "water", "bricks", "snow", "night")
NEIGHBOURS = ("pebble", "leaf", "shell", "coin")

PART_PHRASES = {"eyes": "with eyes", "rim": "with a rim", "horns": "with horns", "tail": "with a tail"}
BACKGROUND_PHRASES = {
    "sand": "on sand",
    "grass": "on grass",
    "water": "on water",
    "bricks": "on bricks",
    "snow": "on snow",
    "night": "at night",
}

# Invented words: none says anything about a shape, a colour, a texture or a part.
CLASS_NAMES = (
    (
        "dax wug blick fep toma zorp mip gazzer kiv plon tove snib rasp0 vusk moxi yaf "
        "lerp quen dorb hix jalu nork pilk gresh sarn teg umbo frim koba zeln bav crond "
        "dulm evik fosk gump0 heth ilno jop krell lund0 mern nib0 osk prad quib roff slom "
        "tarp0 urv vorn wib xan yorl zim bleng clorf drusp fliv glax hobe jern kesh luvo"
    )
    .replace("0", "u")
    .split()
)

GENERAL_PROMPT = "Please describe the image in one sentence."
TARGETED_PROMPTS = {
    "T1": "Describe the {class} in the image in one sentence.",
    "T2": "Describe the color of the {class} in the image in one sentence.",
    "T3": "Describe the shape of the {class} in the image in one sentence.",
    "T4": "Describe the texture of the {class} in the image in one sentence.",
}


@dataclass(frozen=True)
class Attributes:
    """What defines a class: one value each of SHAPES, COLOURS, TEXTURES, PARTS."""

    shape: str
    colour: str
    texture: str
    part: str


@dataclass(frozen=True)
class Scene:
    """Everything that a picture shows. `nuisance_seed` (64 bits) determines what no caption mentions."""

    attributes: Attributes
    size: str
    place: str
    background: str
    neighbour: str
    nuisance_seed: int


def key_of(*parts: object) -> int:
    """64-bit integer that depends on all parts (blake2b of their texts); the same on every machine and Python."""
    return int.from_bytes(blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest(), "big")


def _pick(rng: random.Random, values: Sequence[str]) -> str:
    return values[int(rng.random() * len(values))]


def random_attributes(*key: object) -> Attributes:
    """Uniform over all 1,024 combinations of class-defining attributes, a pure function of the key."""
    rng = random.Random(key_of("attributes", *key))
    return Attributes(_pick(rng, SHAPES), _pick(rng, COLOURS), _pick(rng, TEXTURES), _pick(rng, PARTS))


def scene_of(seed: int, split: str, index: int, attributes: Attributes) -> Scene:
    """Scene `index` of a split: the given attributes, all others uniform; a pure function of the arguments."""
    rng = random.Random(key_of("scene", seed, split, index))
    return Scene(
        attributes=attributes,
        size=_pick(rng, SIZES),
        place=_pick(rng, PLACES),
        background=_pick(rng, BACKGROUNDS),
        neighbour=_pick(rng, NEIGHBOURS),
        nuisance_seed=rng.getrandbits(63),
    )


def describe_object(a: Attributes) -> str:
    """All four attributes of an object, for example "a red striped star with a tail"."""
    return f"{article(a.colour)} {a.colour} {a.texture} {a.shape} {PART_PHRASES[a.part]}"


def article(word: str) -> str:
    """ "a" or "an", by the first letter of the next word."""
    return "an" if word[0] in "aeiou" else "a"


def general_caption(s: Scene) -> str:
    """The answer to the general prompt: all that a person could tell, free attributes included."""
    a = s.attributes
    return (
        f"a {s.size} {a.colour} {a.texture} {a.shape} {PART_PHRASES[a.part]} "
        f"{BACKGROUND_PHRASES[s.background]}, {s.place}, near a {s.neighbour}."
    )


def targeted_caption(s: Scene, prompt: str) -> str:
    """The answer to the targeted prompt "T1" (the whole object), "T2" (colour), "T3" (shape) or "T4" (texture)."""
    a = s.attributes
    if prompt == "T1":
        return f"the object is {describe_object(a)}."
    if prompt == "T2":
        return f"the object is {a.colour}."
    if prompt == "T3":
        return f"the object is {article(a.shape)} {a.shape} {PART_PHRASES[a.part]}."
    if prompt == "T4":
        return f"the object is {a.texture}."
    raise ValueError(f"unknown targeted prompt {prompt!r}; expected one of {sorted(TARGETED_PROMPTS)}")
