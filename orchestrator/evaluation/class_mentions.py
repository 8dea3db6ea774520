"""Whether a text names a class: whole words, whatever the case, plural or separator.

Holds one search. Reads and writes nothing. Knows nothing of captions or of data sets.
"""

import functools
import re

# Regular endings are derived; these are the irregular nouns that occur among class names of common image data sets.
_IRREGULAR = {
    "child": "children",
    "foot": "feet",
    "goose": "geese",
    "man": "men",
    "mouse": "mice",
    "ox": "oxen",
    "person": "people",
    "tooth": "teeth",
    "woman": "women",
}
_SEPARATOR = r"[\s_-]*"
_SHORTEST_PLURAL = 5  # a name of fewer letters that ends in s ("bus", "gas", "news") is not taken for a plural


def names_class(text: str, class_name: str) -> bool:
    """Whether `text` holds `class_name` as whole words.

    Case does not count; words of the name may be parted by spaces, underscores, hyphens or nothing ("tree_frog" is
    found in "a tree frog", "Tree-frog" and "treefrog"); the last word may be in singular or plural. A name with commas
    holds alternatives, one is enough; what is in brackets ("crane (bird)") is left out. Letters or digits beside the
    name make another word: "cat" is not in "category". A name without a letter or digit is never found.
    """
    pattern = _pattern(class_name)
    return pattern is not None and pattern.search(text) is not None


@functools.lru_cache(maxsize=16384)
def _pattern(class_name: str) -> "re.Pattern[str] | None":
    plain = re.sub(r"\([^)]*\)|\[[^\]]*\]", " ", class_name)
    names = [re.findall(r"[^\s_-]+", part) for part in plain.split(",")]
    alternatives = [_of_words(words) for words in names if any(character.isalnum() for character in "".join(words))]
    if not alternatives:
        return None
    # [^\W_] is a letter or a digit: an underscore beside the name parts words, as a space does.
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(alternatives)})(?![^\W_])", re.IGNORECASE)


def _of_words(words: list[str]) -> str:
    last = "|".join(re.escape(form) for form in sorted(_forms(words[-1].lower())))
    return _SEPARATOR.join([*(re.escape(word) for word in words[:-1]), f"(?:{last})"])


def _forms(noun: str) -> set[str]:
    """The noun in singular and plural; forms that no language has do no harm, because no caption holds them."""
    forms = {noun, noun + "s", noun + "es"}
    if noun.endswith("y"):
        forms.add(noun[:-1] + "ies")
    if noun.endswith("f"):
        forms.add(noun[:-1] + "ves")
    if noun.endswith("fe"):
        forms.add(noun[:-2] + "ves")
    for singular, plural in _IRREGULAR.items():
        # "fireman": the ending decides; "ox" only as a whole word, or "box" would become "boxen"
        if noun == singular or (len(singular) > 2 and noun.endswith(singular)):
            forms.add(noun.removesuffix(singular) + plural)
        if noun == plural or (len(singular) > 2 and noun.endswith(plural)):
            forms.add(noun.removesuffix(plural) + singular)
    if len(noun) >= _SHORTEST_PLURAL and noun.endswith("s") and not noun.endswith(("ss", "us", "is")):
        forms.add(noun[:-1])
        if noun.endswith("ies"):
            forms.add(noun[:-3] + "y")
        if noun.endswith(("ches", "shes", "xes", "ses", "zes", "oes")):
            forms.add(noun[:-2])
        if noun.endswith("ves"):
            forms |= {noun[:-3] + "f", noun[:-3] + "fe"}
    return forms
