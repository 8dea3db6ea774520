"""The files of an export: what the network is, its weights, the snippet; and the proof that they are the student.

Writes `config.json`, `backbone.safetensors`, `head.safetensors` and `use_student.py` (or `student.safetensors` and
`use_rows.py` where the student reads a teacher's rows). Knows nothing of runs, of ONNX or of the model card.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn

from orchestrator import vocabulary as v
from orchestrator.artifacts.storage import read_json, write_atomically, write_json
from orchestrator.datasets.framing import Framing
from orchestrator.errors import ArtifactError, ConfigError
from orchestrator.exporting.use_student import LOADED_MEAN, LOADED_STD, Network
from orchestrator.frozen import Frozen
from orchestrator.students.networks.adaptor import Adaptor, BatchNormOfSeveral
from orchestrator.students.networks.cosine_classifier import CosineClassifier
from orchestrator.students.networks.student import IMAGE, ImageStudent, Student
from orchestrator.students.networks.timm_student import TimmStudent
from orchestrator.students.networks.tiny import TinyStudent
from orchestrator.students.networks.two_tower.image_tower import ImageTowerStudent

CONFIG, BACKBONE, HEAD, WHOLE = "config.json", "backbone.safetensors", "head.safetensors", "student.safetensors"
USE_STUDENT, USE_ROWS = "use_student.py", "use_rows.py"
TEMPERATURE = 0.07  # of cosines that are made probabilities (OOD paper, methods 1.1)
TOLERANCE = 1e-5  # of outputs against the trained model's; on one machine they are equal bit for bit
TRAINED_NAME = {"feature": v.STUDENT_FEATURE, "embedding": v.STUDENT_EMBEDDING, "logits": v.STUDENT_LOGITS}


class Preprocessing(Frozen):
    """How an image becomes the network's input: sides in pixels, mean and deviation of pixels scaled to 0..1."""

    image_size: int
    frame_size: int
    framing: Framing
    mean: tuple[float, ...]
    std: tuple[float, ...]


class ExportConfig(Frozen):
    """What `config.json` holds.

    Attributes:
        output: what classifies: `logits`, `cosines` to class texts, or nothing (`embedding`).
        reads: `image`, or the teacher's output that is the input.
        backbone: `kind` timm (`name`, `options` of timm.create_model), layers, or package.
        heads: layers of `embedding`, `adaptor`, `classifier`, and `text_side`, which brings a class text's embedding
            into the space of the student's.
        class_embeddings: [C, E] shape of the class texts in that space; null: none.
        classes: names, by label; the first `num_seen` were seen in training.
        text_tower: settings of the encoder of class texts, for new class names; null: not known, or there is none.
        max_abs_difference: of the outputs against the trained model's.
        compared_on: what that was measured on.
        fingerprint: of the training; empty for a file without its run.
    """

    format: Literal[1] = 1
    output: Literal["logits", "cosines", "embedding"]
    reads: str
    backbone: dict[str, Any]
    heads: dict[str, list[dict[str, Any]]]
    classifier_reads: str
    class_embeddings: tuple[int, int] | None
    embedding_dim: int
    temperature: float = Field(default=TEMPERATURE, gt=0)
    classes: tuple[str, ...]
    num_seen: int
    preprocessing: Preprocessing
    text_tower: dict[str, Any] | None
    max_abs_difference: float = 0.0
    compared_on: str = ""
    fingerprint: str = ""


def read_config(folder: Path) -> ExportConfig:
    """The description of an export; ArtifactError where the folder is none."""
    if not (folder / CONFIG).is_file():
        raise ArtifactError(f"{folder} is no exported student", expected=f"a folder with {CONFIG}")
    return ExportConfig.model_validate(read_json(folder / CONFIG))


def described(module: nn.Module) -> list[dict[str, Any]]:
    """A stack of simple layers as config.json tells it, containers taken apart."""
    match module:
        case nn.Sequential():
            return [one for child in module for one in described(child)]
        case Adaptor():
            return described(module.layers)
        case CosineClassifier():
            return [
                {
                    "kind": "cosine",
                    "width": module.feature_dim,
                    "num_classes": module.num_classes,
                    "scale": module.scale,
                }
            ]
        case nn.Linear():
            sizes = {"in_features": module.in_features, "out_features": module.out_features}
            return [{"kind": "linear", **sizes, "bias": module.bias is not None}]
        case nn.Conv2d():
            sizes = {"in_channels": module.in_channels, "out_channels": module.out_channels}
            shape = {"kernel_size": module.kernel_size, "stride": module.stride, "padding": module.padding}
            return [{"kind": "conv", **sizes, **shape, "bias": module.bias is not None}]
        case BatchNormOfSeveral() | nn.BatchNorm1d():
            return [{"kind": "batch_norm", "num_features": module.num_features, "eps": module.eps}]
        case nn.BatchNorm2d():
            return [{"kind": "batch_norm_2d", "num_features": module.num_features, "eps": module.eps}]
        case nn.ReLU():
            return [{"kind": "relu"}]
    raise ConfigError(
        f"a head of {type(module).__name__} cannot be exported",
        remedy="tell it in orchestrator/exporting/bundle.py and use_student.py",
    )


def flat(module: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of the same stack, by position: `2.weight`."""
    leaves = [child for child in module.modules() if not list(child.children())]
    return {
        f"{prefix}{position}.{name}": tensor
        for position, leaf in enumerate(leaves)
        for name, tensor in leaf.state_dict().items()
    }


def backbone_of(student: ImageStudent, settings: Any) -> dict[str, Any]:
    """How the backbone is built again."""
    if isinstance(student, TinyStudent):
        return {"kind": "layers", "layers": [*described(student.backbone), {"kind": "mean"}]}
    assert isinstance(student, TimmStudent | ImageTowerStudent), type(student)
    options: dict[str, Any] = {}
    if isinstance(student, TimmStudent):
        options = {"in_chans": settings.in_chans}
        options |= {} if settings.global_pool is None else {"global_pool": settings.global_pool}
        options |= {} if settings.image_size is None else {"img_size": settings.image_size}
    return {"kind": "timm", "name": settings.name, "options": options}


def heads_of(student: ImageStudent) -> dict[str, nn.Module]:
    """The heads that are exported, by their names in config.json."""
    text_side = getattr(student, "text_side", None)
    heads = {"embedding": student.embedding, "adaptor": student.adaptor, "classifier": student.classifier,
             "text_side": None if text_side is None else text_side.projection}  # fmt: skip
    return {name: head for name, head in heads.items() if head is not None}


def mean_and_std(student: Student, settings: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What the network's input is normalised with."""
    if getattr(student, "scales_pixels", False):
        return settings.pixel_mean, settings.pixel_std
    return (LOADED_MEAN,) * 3, (LOADED_STD,) * 3


def write_bundle(
    folder: Path,
    student: Student,
    settings: Any,
    *,
    file: Path,
    class_text: Tensor | None,
    classes: Sequence[str],
    num_seen: int,
    image_size: int,
    frame_size: int,
    framing: Framing,
    text_tower: dict[str, Any] | None,
    fingerprint: str,
) -> ExportConfig:
    """Write the description and the weights of a student in evaluation mode.

    Args:
        settings: of the student; file: where it lies.
        class_text: [C, D] unit embeddings of all classes; None: there are none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with torch.inference_mode():
        classes_here = None if class_text is None or not student.embedding_dim else student.class_embeddings(class_text)
    has_logits = v.STUDENT_LOGITS in student.makes()
    mean, std = mean_and_std(student, settings)
    image_student = isinstance(student, ImageStudent)
    config = ExportConfig(
        output="logits" if has_logits else "embedding" if classes_here is None else "cosines",
        reads=student.reads[0],
        backbone=backbone_of(student, settings) if isinstance(student, ImageStudent) else {"kind": "package"},
        heads={name: described(head) for name, head in heads_of(student).items()}
        if isinstance(student, ImageStudent)
        else {},
        classifier_reads=getattr(student, "classifier_reads", "feature"),
        class_embeddings=None if classes_here is None else (classes_here.shape[0], classes_here.shape[1]),
        embedding_dim=student.embedding_dim,
        classes=tuple(classes),
        num_seen=num_seen,
        preprocessing=Preprocessing(
            image_size=image_size, frame_size=frame_size, framing=framing, mean=mean, std=std
        ),
        text_tower=text_tower,
        fingerprint=fingerprint,
    )  # fmt: skip
    beside: dict[str, Tensor] = {} if classes_here is None else {"class_embeddings": classes_here}
    if isinstance(student, ImageStudent):
        _save(student.backbone.state_dict(), folder / BACKBONE)
        for name, head in heads_of(student).items():
            beside |= flat(head, f"{name}.")
    else:
        shutil.copyfile(file, folder / WHOLE)
    _save(beside, folder / HEAD)
    snippet = USE_STUDENT if image_student else USE_ROWS
    shutil.copyfile(Path(__file__).with_name(snippet), folder / snippet)
    write_json(folder / CONFIG, config.model_dump(mode="json"))
    return config


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomically(path, lambda temporary: save_file(whole, temporary))
    path.chmod(0o644)  # safetensors writes for its owner alone, and an export is for others


@torch.inference_mode()
def prove(folder: Path, student: Student, images: Tensor, compared_on: str) -> ExportConfig:
    """Compare the exported network with the student it was made of, and write down the difference.

    Args:
        images: [N, 3, S, S] as training loads them, (x / 255 - 0.5) / 0.25.

    Raises:
        ArtifactError: an output differs by more than `TOLERANCE`.
    """
    config = read_config(folder)
    assert config.reads == IMAGE, "students of rows are their own file"
    expected = student.eval()(images)
    network = Network(read_json(folder / CONFIG)).load(folder).eval()
    made = network(rescaled(images, config))
    difference = max(
        float((made[name] - expected[trained]).abs().max()) for name, trained in TRAINED_NAME.items() if name in made
    )
    if not difference <= TOLERANCE:
        raise ArtifactError(
            f"{folder}: the exported student's outputs differ from the trained one's by {difference:.3g}",
            expected=f"at most {TOLERANCE:g}",
        )
    config = config.model_copy(update={"max_abs_difference": difference, "compared_on": compared_on})
    write_json(folder / CONFIG, config.model_dump(mode="json"))
    return config


def rescaled(images: Tensor, config: ExportConfig) -> Tensor:
    """Images as training loads them -> the network's input, by the operations of the student itself."""
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in config_scales(config))
    if bool((mean == LOADED_MEAN).all()) and bool((std == LOADED_STD).all()):
        return images
    return images * (LOADED_STD / std) + (LOADED_MEAN - mean) / std


def config_scales(config: ExportConfig) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) of the network's input."""
    return config.preprocessing.mean, config.preprocessing.std
