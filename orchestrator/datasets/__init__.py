"""Where images come from: one settings file per source, and the union of the settings.

Holds the union only. Reads and writes nothing.
"""

from typing import Annotated

from pydantic import Field

from orchestrator.datasets.cifar import CifarSettings
from orchestrator.datasets.coco_captions import CocoCaptionsSettings
from orchestrator.datasets.image_folder import ImageFolderSettings
from orchestrator.datasets.inaturalist import INaturalistSettings
from orchestrator.datasets.list_file import ListFileSettings
from orchestrator.datasets.parquet import ParquetSettings
from orchestrator.datasets.shapes import ShapesSettings
from orchestrator.datasets.tiny_imagenet import TinyImageNetSettings
from orchestrator.datasets.webdataset import WebDatasetSettings

DatasetSettings = Annotated[
    CifarSettings
    | CocoCaptionsSettings
    | ImageFolderSettings
    | INaturalistSettings
    | ListFileSettings
    | ParquetSettings
    | ShapesSettings
    | TinyImageNetSettings
    | WebDatasetSettings,
    Field(discriminator="kind"),
]

__all__ = [
    "CifarSettings",
    "CocoCaptionsSettings",
    "DatasetSettings",
    "INaturalistSettings",
    "ImageFolderSettings",
    "ListFileSettings",
    "ParquetSettings",
    "ShapesSettings",
    "TinyImageNetSettings",
    "WebDatasetSettings",
]
