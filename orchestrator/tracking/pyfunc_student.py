"""The MLflow model of an exported student, as code that MLflow copies beside it; needs the snippet's libraries alone.

One row asks for one image: `image` is base64 of an image file, `path` a file below the folder in the environment
variable STUDENT_IMAGE_ROOT (default: the working directory; files elsewhere are refused). The answer has `label`,
`name`, `score`; a bad image has label -1 and its reason in `error`, and costs no other row anything.
"""

import base64
import importlib.util
import io
import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
import torch
from mlflow.models import set_model
from PIL import Image, UnidentifiedImageError

BATCH_SIZE = 64
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")  # no EPS: it starts a program
MAX_PIXELS, MAX_BYTES = 89_478_485, 256 * 2**20


class ExportedStudent(mlflow.pyfunc.PythonModel):
    """Loads the export's own `use_student.py`."""

    def load_context(self, context: Any) -> None:
        """Called once by MLflow."""
        Image.init()  # Pillow looks up the formats that it is given among those that it has loaded
        folder = Path(context.artifacts["export"])
        spec = importlib.util.spec_from_file_location("use_student", folder / "use_student.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.student = module.Student(folder)

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """One row for each row given."""
        rows = [self._answer(one) for one in model_input.to_dict("records")]
        images = {position: image for position, (image, _) in enumerate(rows) if image is not None}
        good = list(images)
        table = pd.DataFrame({"label": -1, "name": "", "score": 0.0, "error": [error for _, error in rows]})
        for start in range(0, len(good), BATCH_SIZE):
            part = good[start : start + BATCH_SIZE]
            with torch.inference_mode():
                made = self.student.network(torch.stack([images[position] for position in part]))
                score, label = self.student.probabilities(made).max(dim=1)
            table.loc[part, "label"] = label.numpy()
            table.loc[part, "name"] = [self.student.classes[one] for one in label.tolist()]
            table.loc[part, "score"] = score.double().numpy()
        return table

    def _answer(self, row: Mapping[Hashable, Any]) -> tuple[torch.Tensor | None, str]:
        try:
            with Image.open(io.BytesIO(_bytes(row)), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:  # told before one of them is decoded
                    raise ValueError(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS}")
                return self.student.pixels([image])[0], ""
        except UnidentifiedImageError:  # whose own message holds a memory address
            return None, f"not an image in a format that is read ({', '.join(FORMATS)})"
        except Exception as error:  # decoders raise almost anything on damaged files
            return None, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def _bytes(row: Mapping[Hashable, Any]) -> bytes:
    image, path = row.get("image"), row.get("path")
    if isinstance(image, str) and image:
        return base64.b64decode(image, validate=True)
    if not isinstance(path, str) or not path:
        raise ValueError("neither image (base64) nor path is given")
    root = Path(os.environ.get("STUDENT_IMAGE_ROOT") or ".").resolve()
    file = (root / path).resolve()
    if not file.is_relative_to(root):
        raise ValueError("the path lies outside STUDENT_IMAGE_ROOT")
    if not file.is_file() or file.stat().st_size > MAX_BYTES:
        raise ValueError(f"no file of at most {MAX_BYTES} bytes")
    return file.read_bytes()


set_model(ExportedStudent())
