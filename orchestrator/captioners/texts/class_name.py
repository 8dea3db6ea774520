"""Texts of kind `class_name`: the name of the class in a template, in several, or in a published ensemble of them.

Reads nothing but the class names (the CLIP ensemble comes from open_clip). Knows nothing of encoders.
"""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from orchestrator.captioners.prompts import CLASS_FIELD, inject_class, text_problems
from orchestrator.captioners.texts.source import ClassTextSource, Group

if TYPE_CHECKING:
    import pyarrow as pa

DEFAULT_TEMPLATE = "a photo of a {class}."
RISE_TEMPLATES = (
    "itap of a {class}.",
    "a bad photo of the {class}.",
    "a origami {class}.",
    "a photo of the large {class}.",
    "a {class} in a video game.",
    "art of the {class}.",
    "a photo of the small {class}.",
)


class ClassNameText(ClassTextSource):
    """The class name in every template; the embeddings are averaged and made unit again.

    `ensemble: clip` are the 80 ImageNet templates that were published with CLIP, `ensemble: rise` the seven of RISE
    (methods 4). RISE averages features that are not normalised; here, as in CLIP, unit vectors are averaged.
    """

    kind: Literal["class_name"] = "class_name"
    template: str | tuple[str, ...] | None = Field(
        default=None, description="sentence or sentences with {name}; null: those of the ensemble, or the default one"
    )
    ensemble: Literal["clip", "rise"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _default_template(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("template") is None and given.get("ensemble") is None:
            return {**given, "template": DEFAULT_TEMPLATE}
        return given

    @field_validator("template")
    @classmethod
    def _names_the_class(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        templates = (value,) if isinstance(value, str) else value
        problems = ["there is no template"] if templates == () else []
        for template in templates or ():
            problems += [f"{template!r} {problem}" for problem in text_problems(template)]
            if CLASS_FIELD not in template:
                problems.append(f"a template must hold {CLASS_FIELD}, {template!r} does not")
        if len(set(templates or ())) < len(templates or ()):
            problems.append("a template stands there twice")
        if problems:
            raise ValueError("; ".join(problems))
        return value

    @model_validator(mode="after")
    def _one_way(self) -> "ClassNameText":
        if self.template is not None and self.ensemble is not None:
            raise ValueError("give either template or ensemble (with template: null), not both")
        return self

    @property
    def names_classes(self) -> bool:
        """See `TextSource`."""
        return True

    def templates(self) -> tuple[str, ...]:
        """The templates, each with {class}."""
        if self.ensemble == "clip":
            import open_clip

            return tuple(template(CLASS_FIELD) for template in open_clip.OPENAI_IMAGENET_TEMPLATES)
        if self.ensemble == "rise":
            return RISE_TEMPLATES
        assert self.template is not None
        return (self.template,) if isinstance(self.template, str) else self.template

    def identity(self) -> dict[str, Any]:
        """See `TextSource`; an ensemble is what it holds, whoever wrote it."""
        return {"kind": self.kind, "templates": list(self.templates())}

    def texts_of_classes(self, classes: "pa.Table", descriptions: "pa.Table | None") -> list[Group]:
        """See `ClassTextSource`."""
        templates = self.templates()
        return [tuple(inject_class(text, name) for text in templates) for name in classes["name"].to_pylist()]
