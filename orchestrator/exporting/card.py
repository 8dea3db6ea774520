"""The model card: what the student is, what it learnt from, how good and how fast it is, in one Markdown page.

Reads its template; writes `README.md`. Knows nothing of where the facts come from.
"""

import json
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orchestrator import __version__
from orchestrator.artifacts.storage import write_bytes
from orchestrator.exporting.bundle import BACKBONE, ExportConfig

CARD = "README.md"
LIBRARIES = ("torch", "timm", "safetensors", "numpy")
UNTOLD = "not told (exported without the experiment's sheet)"


@dataclass(frozen=True)
class Model:
    """A frozen model that the student learnt from: its part, its id, its licence."""

    part: str
    model: str
    licence: str


@dataclass(frozen=True)
class CardFacts:
    """What the card tells besides the export itself; what is empty is left out, or told to be unknown.

    Attributes:
        knows_models: whether `models` are all there are.
        training: settings of the arm as its manifest has them: student, losses, training.
        dataset: settings of the data set; counts: images by split.
        metrics: by split (`select`, `report`), accuracies 0..1.
        measures: further measures by name.
        onnx: differences of onnxruntime; int8: agreement; speed: see `measure_speed`.
    """

    name: str
    arm: str
    description: str = ""
    dataset: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    models: tuple[Model, ...] = ()
    knows_models: bool = False
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    measures: Mapping[str, float] = field(default_factory=dict)
    onnx: Mapping[str, float] = field(default_factory=dict)
    onnx_opset: int = 0
    int8: Mapping[str, Any] = field(default_factory=dict)
    speed: Mapping[str, Any] = field(default_factory=dict)


def write_card(folder: Path, config: ExportConfig, facts: CardFacts) -> Path:
    """Write the card into the export."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("orchestrator.exporting"), autoescape=False, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {"percent": _percent, "json": _compact, "cell": _cell}
    page = environment.get_template("card.md").render(
        config=config,
        facts=facts,
        snippet=_snippet(config),
        versions={"python": platform.python_version(), "vlm-distill-orchestrator": __version__}
        | {name: version(name) for name in LIBRARIES},
        is_timm=config.backbone["kind"] == "timm" and (folder / BACKBONE).is_file(),
        untold=UNTOLD,
    )
    write_bytes(folder / CARD, page.encode())
    return folder / CARD


def _snippet(config: ExportConfig) -> str:
    if config.reads != "image":
        return (
            "import numpy as np, torch\nfrom use_rows import Student\n\nstudent = Student('.')\n"
            "print(student(torch.from_numpy(np.load('rows.npy'))))"
        )
    if config.output == "embedding":
        last = "print(student.network(student.pixels([Image.open('image.jpg')]))['embedding'])"
    else:
        last = "print(student.predict([Image.open('image.jpg')]))"
    return f"from PIL import Image\nfrom use_student import Student\n\nstudent = Student('.')\n{last}"


def _percent(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def _compact(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _cell(value: Any) -> str:
    """Text that may stand in a table's cell."""
    return str(value).replace("|", "\\|").replace("\n", " ")
