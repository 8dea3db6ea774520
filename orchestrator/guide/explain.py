"""What a setting means, in words: type and range, default, meaning, and the paper it comes from.

Reads docstrings of the settings' classes and, without importing them, of the formulas behind them; so there is one text
for readers of the code and for users. Writes nothing.
"""

import ast
import inspect
import re
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from orchestrator.frozen import Frozen
from orchestrator.guide.settings import KIND, Found, find, is_map, kind_of, models_in

PLAIN = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "null", dict: "mapping"}
# What a name means in every class that says nothing of its own about it.
EVERYWHERE = {
    "weight": "factor of this loss in the total; 0 leaves it out",
    "temperature": "divides similarities or logits before the softmax; smaller is sharper",
    "learnable": "learn the temperature with the student",
    "negatives": "images of all workers' batches (global), or of the worker's own",
    "reduction": "mean or sum over the batch",
    "seed": "of the random draws; the same seed gives the same result",
    "learning_rate": "at the peak of the schedule",
    "weight_decay": "decoupled, of weight matrices; biases and norms have none where the optimiser says so",
    "epochs": "passes over the training images",
    "dtype": "number format in which the model computes",
    "store_dtype": "number format in which embeddings are kept",
    "revision": "of the model in its hub: a commit, so that the weights cannot change",
    "trust_remote_code": "always false: code that comes with weights is not run",
    "max_new_tokens": "longest answer, tokens",
    "min_new_tokens": "shortest answer, tokens",
    "outputs": "what the encoder gives: embedding, feature, tokens, ...",
    "select_fraction": "share of each class's images that becomes the split on which settings are chosen",
    "report_fraction": "share of each class's images that becomes the split that is only reported",
    "num_cpus_per_actor": "processors that one actor occupies in Ray's books",
    "num_gpus_per_actor": "GPUs that one actor occupies; a fraction shares one",
    "num_cpus_per_worker": "processors that one worker occupies in Ray's books",
    "num_gpus_per_worker": "GPUs that one worker occupies",
    "select_seed": "of the draw of the images that are set aside for the selection split",
    "head_depth": "hidden layers of the loss's projection head, each Linear, BatchNorm where it is on, ReLU; 0: linear",
    "head_hidden_dim": "width of the head's hidden layers; null: that of the student's feature",
    "head_dim": "width of the head's output",
    "head_batch_norm": "BatchNorm in the head's hidden layers",
    "queue_size": "keys of earlier batches that are kept, a multiple of the global batch; 0: none",
    "learnable_scale": "learn the scale with the student",
    "label_smoothing": "share of the target that is spread over all classes",
    "extensions": "file names that are images, by their ends; capitals do not matter",
    "in_chans": "colours of the image, 3 for RGB",
    "classifier": "the head that gives class logits; null: none",
    "embedding": "the head that gives an embedding; null: none",
}
SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
MAX_KINDS_NAMED = 5
_SENTENCE = re.compile(r"(?<=[.;])\s+(?=[A-Z`])|\n\n+")
_PAPER = re.compile(r"\b(?:19|20)\d\d\b|\bEq\. |VLM-KD|LiVT|official code")


class Explained(Frozen):
    """One setting, or one kind with its settings, in words.

    Attributes:
        title: the first sentence of the class, or the path's name.
        type: with range; empty for a kind.
        default: as YAML has it; None where the setting must be given or a kind is explained.
        paper: sentences that name the source.
        settings: of a kind or a group: name, type, default, meaning.
        kinds: that may stand there: name and first sentence.
    """

    path: str
    sheet: str
    title: str
    meaning: str = ""
    type: str = ""
    default: str | None = None
    paper: tuple[str, ...] = ()
    settings: tuple[tuple[str, str, str, str], ...] = ()
    kinds: tuple[tuple[str, str], ...] = ()


def explain(path: str, tree: Mapping[str, Any] | None = None) -> list[Explained]:
    """Everything that a dotted path may mean; see `find` for paths and errors."""
    return [_explained(found) for found in find(path, tree)]


def _explained(found: Found) -> Explained:
    field, models = found.field, found.models
    by_kind = sorted((kind_of(model), first_sentence(model)) for model in models if kind_of(model))
    if len(models) == 1 and (field is None or not is_map(field.annotation)):
        model = models[0]
        return Explained(
            path=found.path or found.sheet, sheet=found.sheet, title=first_sentence(model), meaning=own_doc(model),
            default=default_of(field) if field is not None else None,
            paper=papers(model), settings=tuple(_rows(model)),
        )  # fmt: skip
    name = found.path.rpartition(".")[2]
    owner = found.owner
    return Explained(
        path=found.path, sheet=found.sheet, title=first_sentence(owner) if owner is not None else name,
        meaning=meaning_of(owner, name) if owner is not None and field is not None else "",
        type=type_of(field) if field is not None else "one of the kinds below, under a name of your own",
        default=default_of(field) if field is not None else None,
        paper=papers(owner) if owner is not None and not models else (), kinds=tuple(by_kind),
    )  # fmt: skip


def _rows(model: type[BaseModel]) -> Iterator[tuple[str, str, str, str]]:
    for name, field in model.model_fields.items():
        if name != KIND:
            yield name, type_of(field), default_of(field) or "must be given", meaning_of(model, name)


def own_doc(model: type[BaseModel]) -> str:
    """The docstring of a class itself, cleaned; not one that it inherits."""
    return inspect.cleandoc(model.__dict__.get("__doc__") or "")


def first_sentence(model: type[BaseModel]) -> str:
    """What a class is, in a line."""
    return _unwrapped(own_doc(model)).partition("\n")[0].strip()


def meaning_of(model: type[BaseModel], name: str) -> str:
    """What the class that declares a setting, or one above it, says of it."""
    field = model.model_fields[name]
    if field.description:
        return field.description
    for one in model.__mro__:
        if issubclass(one, BaseModel) and (doc := own_doc(one)):
            told = [sentence for sentence in sentences(doc) if re.search(rf"`(?:[\w.]+, )*{name}\b", sentence)]
            if told:
                return " ".join(told).rstrip(";")
            if name in (attributes := attributes_of(doc)):
                return attributes[name]
    return EVERYWHERE.get(name, "")


def attributes_of(doc: str) -> dict[str, str]:
    """What the part `Attributes:` of a docstring says of each name."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in doc.partition("Attributes:\n")[2].splitlines():
        if not line.startswith("    "):
            break
        if entry := re.fullmatch(r"    ((?:\w+, )*\w+): (.*)", line):
            names = entry[1].split(", ")
            found |= dict.fromkeys(names, entry[2].strip())
        else:
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def sentences(doc: str) -> list[str]:
    """The sentences of a docstring, each on one line."""
    return [" ".join(part.split()) for part in _SENTENCE.split(doc) if part.strip()]


def _unwrapped(doc: str) -> str:
    return "\n".join(" ".join(part.split()) for part in doc.split("\n\n"))


def type_of(field: FieldInfo) -> str:
    """Type and range in words."""
    signs = {
        sign: getattr(one, sign) for one in field.metadata for sign in SIGNS if getattr(one, sign, None) is not None
    }
    shown = _shown_type(field.annotation)
    limits = " and ".join(f"{SIGNS[sign]} {value:g}" for sign, value in signs.items())
    pattern = next((one.pattern for one in field.metadata if getattr(one, "pattern", None)), "")
    return f"{shown} {limits}".strip() + (f" that matches {pattern}" if pattern else "")


def _shown_type(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return "anything"
    if origin is Annotated:
        return _shown_type(parts[0])
    if origin is Literal:
        return " | ".join(str(part) for part in parts)
    if origin in (Union, types.UnionType):
        kinds = [kind for model in models_in(annotation) if (kind := kind_of(model))]
        if kinds:
            named = ", ".join(kinds) if len(kinds) <= MAX_KINDS_NAMED else f"{len(kinds)} kinds"
            return f"one of {named}" + (" or null" if type(None) in parts else "")
        return " or ".join(dict.fromkeys(_shown_type(part) for part in parts))
    if origin in (tuple, list):
        return "list of " + _shown_type(parts[0])
    if origin is dict:
        return "names, each with " + _shown_type(parts[1])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return kind_of(annotation) or "settings"
    return PLAIN.get(annotation, getattr(annotation, "__name__", str(annotation)))


def default_of(field: FieldInfo) -> str | None:
    """The default as YAML has it; None where there is none."""
    if field.is_required():
        return None
    return _yaml(field.get_default(call_default_factory=True, validated_data={}))


def _yaml(value: Any) -> str:
    if isinstance(value, BaseModel):
        given = {KIND: getattr(value, KIND)} if KIND in type(value).model_fields else {}
        told = given | value.model_dump(mode="json", exclude_defaults=True)
        return _yaml(told) if told else "its own defaults"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_yaml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_yaml(one) for one in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value) or '""'


def papers(model: type[BaseModel]) -> tuple[str, ...]:
    """Sentences that name a source: of the class, else of the formulas behind it."""
    own = [sentence for sentence in sentences(own_doc(model)) if _PAPER.search(sentence)]
    return tuple(own) or tuple(sentence for sentence in _formula_sentences(model) if _PAPER.search(sentence))[:3]


def _formula_sentences(model: type[BaseModel]) -> Iterator[str]:
    settings = Path(inspect.getfile(model))
    formulas = settings.parent / "formulas" / settings.name
    if not formulas.is_file():
        return
    tree = ast.parse(formulas.read_text(encoding="utf-8"))
    for node in (tree, *tree.body):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and (doc := ast.get_docstring(node)):
            yield from sentences(doc)
