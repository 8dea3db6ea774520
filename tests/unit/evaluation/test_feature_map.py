"""Which images are drawn, and that groups that are apart stay apart on the plane."""

import numpy as np

from orchestrator.evaluation.feature_map import drawn_rows, plane


def test_a_class_shows_the_same_images_beside_other_classes() -> None:
    label = (np.arange(300) % 30).tolist()
    rows = drawn_rows(label, [4, 2])
    assert [label[row] for row in rows] == 5 * [4] + 5 * [2]
    assert len(set(rows)) == 10
    assert drawn_rows(label, [2, 9])[:5] == rows[5:]
    assert drawn_rows(label, [4, 2], seed=1) != rows


def test_a_class_with_few_images_shows_all() -> None:
    assert drawn_rows([7, 3, 7, 3, 3], [7]) == [0, 2]


def test_groups_that_are_apart_stay_apart_and_the_seed_decides() -> None:
    generator = np.random.default_rng(0)
    label = np.repeat(np.arange(10), 5)
    features = np.eye(10)[label] + 0.05 * generator.normal(size=(50, 10))
    found = plane(features)
    distance = np.linalg.norm(found[:, None] - found[None], axis=-1) + np.diag(np.full(50, np.inf))
    assert (label[distance.argmin(1)] == label).all()
    np.testing.assert_array_equal(plane(3 * features), found)
    assert not np.array_equal(plane(features, seed=1), found)


def test_few_points_lower_the_perplexity() -> None:
    assert np.isfinite(plane(np.eye(4))).all()
