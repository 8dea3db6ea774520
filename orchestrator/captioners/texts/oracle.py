"""Texts of kind `oracle`: the true description of each image, where the data set knows it.

Reads the table of images. Knows nothing of encoders.
"""

from collections.abc import Sequence
from typing import Literal

from orchestrator.captioners.texts.source import Group, TextMaterial, TextSource
from orchestrator.errors import DataError


class OracleText(TextSource):
    """The true description of the scene (the embedded world knows it): what a perfect captioner would say."""

    kind: Literal["oracle"] = "oracle"

    def texts_of_images(self, material: TextMaterial) -> Sequence[Group | None]:
        """See `TextSource`.

        Raises:
            DataError: the data set does not know the truth.
        """
        if material.train["oracle_caption"].null_count:
            raise DataError(
                f"texts of kind {self.kind}: the data set does not know them", expected="another kind of text"
            )
        return [(text,) for text in material.train["oracle_caption"].to_pylist()]
