"""The whole line on photographs of ordinary size, with three corrupted copies among them.

    python -m benchmarks.photos_line --photos FOLDER [--storage FOLDER] [--engine ray|in_process]

FOLDER holds JPEG files whose names begin with a WordNet id. They are copied beside the corrupted ones (one cut off, one
empty, one a text), put into three classes (animals, artefacts, other things) and three splits, and the line is run to
its report. The embedded VLM does not know photographs: this shows the machinery at real sizes, not the method.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
CLASSES = ("animal", "artefact", "other")


def class_of(name: str) -> int:
    """The class of a WordNet id: n01 and n02 are animals, n03 and n04 artefacts."""
    return {"n01": 0, "n02": 0, "n03": 1, "n04": 1}.get(name[:3], 2)


def write_data(photos: Path, folder: Path) -> int:
    """Images, lists and class names in `folder`; returns how many images are sound."""
    files = sorted(path for path in photos.iterdir() if path.suffix.lower() in (".jpeg", ".jpg"))
    images = folder / "images"
    images.mkdir(parents=True)
    lines: dict[str, list[str]] = {"train": [], "select": [], "report": []}
    for number, path in enumerate(files):
        shutil.copyfile(path, images / path.name)
        split = ("train", "train", "train", "select", "report")[number % 5]
        lines[split].append(f"images/{path.name} {class_of(path.name)}")
    whole = files[0].read_bytes()
    for name, data in (("cut.JPEG", whole[: len(whole) // 2]), ("empty.JPEG", b""), ("text.JPEG", b"no image\n")):
        (images / name).write_bytes(data)
        lines["train"].append(f"images/{name} 0")
    for split, rows in lines.items():
        (folder / f"{split}.txt").write_text("".join(f"{row}\n" for row in rows))
    (folder / "classes.tsv").write_text("".join(f"{label}\t{name}\n" for label, name in enumerate(CLASSES)))
    return len(files)


def command(folder: Path, storage: Path, engine: str) -> list[str]:
    """The line over it."""
    lists = ", ".join(f"{split}: {split}.txt" for split in ("train", "select", "report"))
    dataset = f"{{kind: list_file, root: '{folder}', lists: {{{lists}}}, class_names: classes.tsv}}"
    captioner = "{kind: transformers, model: 'embedded:tiny_vlm', max_new_tokens: 24}"
    experiment = [
        f"dataset={dataset}", f"captioner={captioner}", "name=photos", "sweep=null", "prompts=[general, targeted_1]",
        "text_encoder={kind: open_clip, model: 'embedded:tiny_clip'}",
        "image_teacher={kind: open_clip, model: 'embedded:tiny_clip'}",
        "texts={general: {kind: caption, prompt: general}, targeted: {kind: caption, prompt: targeted_1}}",
        "text_sources=[general, targeted]",
    ]  # fmt: skip
    sheet = {"ray": "laptop", "in_process": "in_process"}[engine]
    flags = ["--execution", f"jobs/executions/{sheet}.yaml", "--set", f"storage_root={storage}"]
    script = str(Path(sys.executable).parent / "orchestrator")
    return [script, "run", "jobs/experiments/smoke.yaml", *experiment, *flags]


def counts(storage: Path, name: str) -> dict[str, int]:
    """An artifact's counts."""
    found: dict[str, int] = json.loads((storage / "photos" / name / "manifest.json").read_text())["counts"]
    return found


def main() -> None:
    """Run, and print what became of every image."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--storage", type=Path, default=None)
    parser.add_argument("--engine", choices=("ray", "in_process"), default="ray")
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="photos-"))
    storage = (arguments.storage or work / "runs").resolve()
    good = write_data(arguments.photos, work / "data")
    begun = time.monotonic()
    subprocess.run(command(work / "data", storage, arguments.engine), cwd=PROJECT, check=True)
    index, captions = counts(storage, "index"), counts(storage, "captions")
    import pyarrow.parquet as pq

    quarantine = pq.read_table(storage / "photos" / "index" / "quarantine.parquet").to_pylist()
    print(f"{good} photographs and 3 corrupted copies, {time.monotonic() - begun:.0f} s in all")
    print("index:   ", ", ".join(f"{value} {key}" for key, value in index.items()))
    for row in quarantine:
        print(f"          {Path(row['path']).name}: {row['error_class']}: {row['message']}")
    print("captions:", ", ".join(f"{value} {key}" for key, value in captions.items()))
    sizes = pq.read_table(storage / "photos" / "index" / "images.parquet", columns=["width", "height"]).to_pylist()
    middle = Counter(f"{row['width']} x {row['height']}" for row in sizes).most_common(1)[0]
    print(f"sizes:    the most frequent is {middle[0]} ({middle[1]} of {len(sizes)})")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
