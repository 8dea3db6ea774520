"""Where images come from: one settings file per source, and the union of the settings.

Holds the union only. Reads and writes nothing.
"""

from typing import Annotated

from pydantic import Field

from orchestrator.datasets.image_folder import ImageFolderSettings
from orchestrator.datasets.list_file import ListFileSettings
from orchestrator.datasets.shapes import ShapesSettings

DatasetSettings = Annotated[ShapesSettings | ImageFolderSettings | ListFileSettings, Field(discriminator="kind")]

__all__ = ["DatasetSettings", "ImageFolderSettings", "ListFileSettings", "ShapesSettings"]
