"""Naming a class: whole words in any case, number and separator, and nothing that merely contains the name."""

import pytest

from orchestrator.evaluation.class_mentions import names_class


@pytest.mark.parametrize(
    ("text", "class_name"),
    [
        ("a cat on a mat", "cat"),
        ("A CAT.", "cat"),
        ("cat", "Cat"),
        ("the cat's tail", "cat"),
        ("two cats", "cat"),
        ("three foxes and a box", "fox"),
        ("puppies asleep", "puppy"),
        ("wolves in snow", "wolf"),
        ("kitchen knives", "knife"),
        ("firemen at work", "fireman"),
        ("two mice", "mouse"),
        ("a rose in a vase", "roses"),
        ("a berry", "berries"),
        ("a church", "churches"),
        ("a tree frog", "tree_frog"),
        ("tree frogs", "tree-frog"),
        ("a treefrog", "tree frog"),
        ("a snake_case tree_frog_here", "tree frog"),
        ("a shark", "great white shark, shark, man-eater"),
        ("a crane on a lake", "crane (bird)"),
        ("ein großer Käfer", "käfer"),
        ("a c++ (language) sign", "c++"),
        ("a blick3 in view", "blick3"),
    ],
)
def test_a_class_is_named(text: str, class_name: str) -> None:
    assert names_class(text, class_name)


@pytest.mark.parametrize(
    ("text", "class_name"),
    [
        ("a category of its own", "cat"),
        ("concatenate", "cat"),
        ("bobcat", "cat"),
        ("cat5 cable", "cat"),
        ("a tree and a frog", "tree_frog"),
        ("frog tree", "tree frog"),
        ("a boxen", "box"),
        ("something new", "news"),
        ("the glas", "glass"),
        ("blick31 in view", "blick3"),
        ("", "cat"),
        ("anything", ""),
        ("anything", "_-_"),
        ("anything (bird)", "(bird)"),
        ("abc", "a.c"),
    ],
)
def test_a_class_is_not_named(text: str, class_name: str) -> None:
    assert not names_class(text, class_name)
