"""A tiny data set on disk of every kind, in the layout in which the real one is published."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

NUM_OF_CLASS = (6, 5, 4)  # training images of the three classes of every maker


def picture(path: Path, shade: int, side: int = 8) -> str:
    """Write an image that differs from those of other shades; its place as text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(shade).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "PNG")  # whatever the name says: decoders look at the bytes
    return str(path)


def image_folder(root: Path) -> dict[str, Any]:
    """`root/CLASS/N.png`, split by fractions."""
    for label, count in enumerate(NUM_OF_CLASS):
        for i in range(count):
            picture(root / f"class_{label}" / f"{i}.png", 10 * label + i)
    return {"kind": "image_folder", "root": str(root), "report_fraction": 0.2}


def list_file(root: Path) -> dict[str, Any]:
    """Lists named as those of ImageNet-LT, beside a folder of images."""
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for label, count in enumerate(NUM_OF_CLASS):
        for i in range(count):
            picture(root / "train" / f"n{label}" / f"{i}.JPEG", 10 * label + i)
            lists["train"].append(f"train/n{label}/{i}.JPEG {label}")
        picture(root / "train" / f"n{label}" / "val.JPEG", 100 + label)
        lists["val"].append(f"train/n{label}/val.JPEG {label}")  # as there, taken from ImageNet's training images
        picture(root / "val" / f"ILSVRC2012_val_{label}.JPEG", 200 + label)
        lists["test"].append(f"val/ILSVRC2012_val_{label}.JPEG {label}")
    for name, lines in lists.items():
        (root / f"ImageNet_LT_{name}.txt").write_text("\n".join(lines) + "\n")
    (root / "classes.tsv").write_text("0\ttench\n1\tgoldfish\n2\tshark\n")
    return {"kind": "list_file", "root": str(root), "preset": "imagenet_lt", "class_names": "classes.tsv"}


def inaturalist(root: Path, *, fpath: bool = False) -> dict[str, Any]:
    """`train2018.json`, `val2018.json` and the images; with `fpath` in the variant of LiVT, with paths of elsewhere."""
    categories = [{"id": 5, "name": "Quercus alba"}, {"id": 2, "name": "Bufo bufo"}, {"id": 9, "name": "Apis"}]
    number = 0
    for name, counts in (("train", NUM_OF_CLASS), ("val", (1, 1, 1))):
        images, annotations = [], []
        for category, count in zip(categories, counts, strict=True):
            for _ in range(count):
                number += 1
                file_name = f"train_val2018/Life/{category['id']}/{number:04d}.jpg"
                picture(root / file_name, number)
                images.append({"id": number, "file_name": file_name, "height": 8, "width": 8})
                row = {"id": number, "image_id": number, "category_id": category["id"]}
                annotations.append(row | ({"fpath": f"/elsewhere/iNat18/images/{file_name}"} if fpath else {}))
        tree: dict[str, Any] = {"annotations": annotations[::-1]}
        tree |= {} if fpath else {"images": images, "categories": categories, "info": {}}
        (root / f"{name}2018.json").write_text(json.dumps(tree))
    return {"kind": "inaturalist", "root": str(root)}


def tiny_imagenet(root: Path) -> dict[str, Any]:
    """The folders and lists of Tiny ImageNet-200 with three classes."""
    wnids = ("n03", "n01", "n02")
    root.mkdir(parents=True, exist_ok=True)
    (root / "wnids.txt").write_text("\n".join(wnids) + "\n")
    (root / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn02\ttailed frog\nn03\tbullfrog\nn04\tnewt\n")
    lines = []
    for label, (wnid, count) in enumerate(zip(wnids, NUM_OF_CLASS, strict=True)):
        for i in range(count):
            picture(root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", 10 * label + i)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t7\t7\n")
        picture(root / "val" / "images" / f"val_{label}.JPEG", 100 + label)
        lines.append(f"val_{label}.JPEG\t{wnid}\t0\t0\t7\t7")
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    picture(root / "test" / "images" / "test_0.JPEG", 300)
    return {"kind": "tiny_imagenet", "root": str(root)}


def cifar_pixels(number: int) -> np.ndarray:
    """The [3, 32, 32] planes of one image."""
    return np.random.default_rng(number).integers(0, 256, (3, 32, 32), dtype=np.uint8)


def cifar(root: Path, num_classes: int = 10) -> dict[str, Any]:
    """The binary version: CIFAR-10 with three images a batch (labels 0 to 9 and again), CIFAR-100 with 15."""
    root.mkdir(parents=True, exist_ok=True)
    if num_classes == 10:
        files = {f"data_batch_{i}.bin": range(3 * i - 3, 3 * i) for i in range(1, 6)} | {
            "test_batch.bin": range(50, 60)
        }
        names = {"batches.meta.txt": [f"kind {i}" for i in range(10)]}
    else:
        files = {"train.bin": range(15), "test.bin": range(50, 60)}
        names = {"fine_label_names.txt": [f"kind {i}" for i in range(100)]}
        names["coarse_label_names.txt"] = [f"family {i}" for i in range(20)]
    for name, numbers in files.items():
        head = (lambda n: bytes([n % 10])) if num_classes == 10 else (lambda n: bytes([n % 20, n % 100]))
        (root / name).write_bytes(b"".join(head(n) + cifar_pixels(n).tobytes() for n in numbers))
    for name, lines in names.items():
        (root / name).write_text("\n".join(lines) + "\n\n")
    return {"kind": "cifar", "root": str(root), "num_classes": num_classes}


def coco_captions(root: Path) -> dict[str, Any]:
    """Captions and instances of COCO 2017; every image has objects but the last of each split."""
    categories = [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}]
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    for split, first, count in (("train", 1, 15), ("val", 101, 4)):
        images, captions, objects = [], [], []
        for number in range(first, first + count):
            file_name = f"{number:012d}.jpg"
            picture(root / f"{split}2017" / file_name, number)
            images.append({"id": number, "file_name": file_name})
            captions += [
                {"id": 10 * number + i, "image_id": number, "caption": f"view {i} of {number}"} for i in (0, 1)
            ]
            if number < first + count - 1:
                areas = ((18, 40.5), (1, 30)) if number % 2 else ((18, 10), (1, 40.5))
                objects += [
                    {"image_id": number, "category_id": c, "area": area, "id": len(objects)} for c, area in areas
                ]
        for name, annotations in (("captions", captions), ("instances", objects)):
            tree: dict[str, Any] = {"images": images, "annotations": annotations}
            tree |= {"categories": categories} if name == "instances" else {}
            (root / "annotations" / f"{name}_{split}2017.json").write_text(json.dumps(tree))
    instances = {"train": "annotations/instances_train2017.json", "report": "annotations/instances_val2017.json"}
    return {"kind": "coco_captions", "root": str(root), "instances": instances}


def parquet(root: Path) -> dict[str, Any]:
    """Files as a hub publishes them: structs of bytes and path, numbered labels, and their names in the metadata."""
    names = ["tench", "goldfish", "shark"]
    features = {"label": {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    for name, counts in (("train", NUM_OF_CLASS), ("validation", (1, 1, 1)), ("test", (1, 1, 1))):
        rows = [(label, 300 * len(name) + 10 * label + i) for label, count in enumerate(counts) for i in range(count)]
        for part in (0, 1):
            table = pa.table(
                {
                    "image": [{"bytes": encoded(shade), "path": f"{shade}.png"} for _, shade in rows[part::2]],
                    "label": pa.array([label for label, _ in rows[part::2]], pa.int64()),
                }
            )
            table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
            path = root / "data" / f"{name}-{part:05d}-of-00002.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, path, row_group_size=2)
    files = {"train": "data/train-*.parquet", "select": "data/validation-*.parquet", "report": "data/test-*.parquet"}
    return {"kind": "parquet", "root": str(root), "files": files}


def webdataset(root: Path) -> dict[str, Any]:
    """Tars of samples; the label in `.cls`, of the second tar of train in `.json`."""
    root.mkdir(parents=True, exist_ok=True)
    counts = {"train-0": NUM_OF_CLASS, "train-1": (1, 1, 1), "val-0": (1, 1, 1), "test-0": (1, 1, 1)}
    for number, (name, of_class) in enumerate(counts.items()):
        with tarfile.open(root / f"{name}.tar", "w") as archive:
            for label, count in enumerate(of_class):
                for i in range(count):
                    told = ("json", json.dumps({"label": label})) if name == "train-1" else ("cls", f"{label}\n")
                    picture_bytes = encoded(1000 * number + 10 * label + i)
                    for extension, data in (("png", picture_bytes), (told[0], told[1].encode())):
                        member = tarfile.TarInfo(f"{label}{i:04d}.{extension}")
                        member.size = len(data)
                        archive.addfile(member, io.BytesIO(data))
    shards = {"train": "train-*.tar", "select": "val-*.tar", "report": "test-*.tar"}
    return {"kind": "webdataset", "root": str(root), "shards": shards}


def encoded(shade: int) -> bytes:
    """The bytes of an image that differs from those of other shades."""
    pixels = np.random.default_rng(shade).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def shapes(root: Path) -> dict[str, Any]:
    """The embedded world, which needs no files."""
    return {"kind": "shapes", "num_classes": 6, "max_count": 6, "imbalance_ratio": 2.0,
            "num_select_per_class": 2, "num_report_per_class": 3}  # fmt: skip


MAKERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    make.__name__: make
    for make in (
        cifar,
        coco_captions,
        image_folder,
        inaturalist,
        list_file,
        parquet,
        shapes,
        tiny_imagenet,
        webdataset,
    )
}
