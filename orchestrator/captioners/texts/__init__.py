"""Where texts come from: captions, names and descriptions of classes, people, the true scene. One file each.

Holds the union of all kinds, and the union of those that give every class a text.
"""

from typing import Annotated

from pydantic import Field

from orchestrator.captioners.texts.caption import CaptionText
from orchestrator.captioners.texts.class_description import ClassDescriptionText
from orchestrator.captioners.texts.class_name import ClassNameText
from orchestrator.captioners.texts.description_files import DescriptionFilesText
from orchestrator.captioners.texts.human_captions import HumanCaptionsText
from orchestrator.captioners.texts.oracle import OracleText
from orchestrator.captioners.texts.random_vector import RandomVectorText
from orchestrator.captioners.texts.sentences import SentencesText
from orchestrator.captioners.texts.source import ClassTextSource, DrawnVector, Group, TextMaterial, TextSource
from orchestrator.captioners.texts.written_description import WrittenDescriptionText

TextSettings = Annotated[
    CaptionText
    | ClassNameText
    | ClassDescriptionText
    | DescriptionFilesText
    | WrittenDescriptionText
    | SentencesText
    | HumanCaptionsText
    | OracleText
    | RandomVectorText,
    Field(discriminator="kind"),
]
ClassTextSettings = Annotated[
    ClassNameText | ClassDescriptionText | DescriptionFilesText | WrittenDescriptionText | SentencesText,
    Field(discriminator="kind"),
]

__all__ = [
    "CaptionText",
    "ClassDescriptionText",
    "ClassNameText",
    "ClassTextSettings",
    "ClassTextSource",
    "DescriptionFilesText",
    "DrawnVector",
    "Group",
    "HumanCaptionsText",
    "OracleText",
    "RandomVectorText",
    "SentencesText",
    "TextMaterial",
    "TextSettings",
    "TextSource",
    "WrittenDescriptionText",
]
