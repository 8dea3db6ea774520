"""One captioning actor against a bare batched `generate` loop: same weights, images, prompts and tokens, interleaved.

Both sides decode the same JPEG images and get the same texts, on one thread, in batches that take at least 200 ms.
Ours is all of an actor's work: a micro-batch's images read from their files, hashed and decoded, the store looked at
for news, an intent declared, captions made, and all of it committed to the disk. Prints captions/s of both (medians),
the ratio of each pair of neighbouring steps (median, with a 95 % interval by bootstrap over the pairs), by the wall
clock and, for machines that others use too, by processor time; and the start-up apart. What we claim: a ratio of at
least 0.95.
"""

import argparse
import io
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from benchmarks.pairs import ratio_with_interval, timed
from orchestrator.artifacts.teacher_store import TeacherStore
from orchestrator.captioners import TransformersCaptionerSettings
from orchestrator.captioners.prompts import PROMPTS, inject_class
from orchestrator.datasets.index import content_hash
from orchestrator.datasets.shapes_grammar import CLASS_NAMES, random_attributes, scene_of
from orchestrator.datasets.shapes_render import render
from orchestrator.stages.caption import CaptionWorker
from orchestrator.teachers.weights import resolve_model

MODEL, MAX_NEW_TOKENS, LEAST_STEP_S, WARMUP = "embedded:tiny_vlm", 48, 0.2, 3


def jpeg(number: int) -> bytes:
    """A scene of the embedded world as a file's bytes."""
    scene = scene_of(7, "benchmark", number, random_attributes(7, number))
    buffer = io.BytesIO()
    Image.fromarray(render(scene)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write_rows(folder: Path, files: Sequence[bytes], texts: Sequence[str]) -> pa.Table:
    """The images as files, and a plan's rows of them without keys."""
    rows = []
    for number, (data, text) in enumerate(zip(files, texts, strict=True)):
        path = folder / f"{number:04d}.jpg"
        path.write_bytes(data)
        address = {"path": str(path), "offset": 0, "size": len(data), "content_hash": content_hash(data)}
        rows.append({**address, "prompt_text": [text]})
    return pa.Table.from_pylist(rows)


def bare_loop() -> Callable[[Sequence[bytes], Sequence[str]], list[str]]:
    """Processor and `generate`, written as transformers documents them."""
    import transformers

    source = resolve_model(MODEL)
    processor = transformers.AutoProcessor.from_pretrained(source)
    processor.tokenizer.padding_side = "left"
    model = transformers.AutoModelForImageTextToText.from_pretrained(source, dtype=torch.float32).eval()

    def caption(files: Sequence[bytes], prompts: Sequence[str]) -> list[str]:
        chats = []
        for prompt in prompts:
            turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}
            chats.append(processor.apply_chat_template([turn], add_generation_prompt=True))
        images = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
        with torch.inference_mode():
            batch = processor(images=images, text=chats, padding=True, return_tensors="pt")
            tokens = model.generate(**batch, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
        texts = processor.batch_decode(tokens[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        return [text.strip() for text in texts]

    return caption


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="least time of each side, in seconds")
    seconds = parser.parse_args().seconds
    torch.set_num_threads(1)
    files = [jpeg(number) for number in range(512)]
    names = list(PROMPTS)
    texts = [inject_class(PROMPTS[names[n % len(names)]], CLASS_NAMES[n % len(CLASS_NAMES)]) for n in range(len(files))]
    started = time.perf_counter()
    folder = Path(tempfile.mkdtemp(prefix="captioning-loop-"))
    rows = write_rows(folder, files, texts)
    settings = TransformersCaptionerSettings(model=MODEL, max_new_tokens=MAX_NEW_TOKENS)
    worker = CaptionWorker(captioner=settings, store=str(folder / "store"), run="bench", known=(), timeout_s=900.0)
    apply = worker.open(own_process=True)
    store = TeacherStore(folder / "store")
    built_s = time.perf_counter() - started

    def ours(part: slice) -> list[str]:
        chosen = rows.slice(part.start, part.stop - part.start)
        keys = [uuid.uuid4().hex for _ in range(chosen.num_rows)]  # rows that nobody has paid yet
        receipt = apply(worker.fetch(chosen.append_column("keys", pa.array([[key] for key in keys]))))
        assert receipt["done"].to_pylist() == [chosen.num_rows]
        return keys

    def captions(keys: list[str]) -> list[str]:
        return list(store.read(keys, ["caption"])["caption"].to_pylist())

    first_s, _ = timed(lambda: ours(slice(0, 8)))
    bare = bare_loop()

    def theirs(part: slice) -> list[str]:
        return bare(files[part], texts[part])

    size = 8
    while size < len(files) and min(timed(partial(theirs, slice(0, size)))[1] for _ in range(WARMUP)) < LEAST_STEP_S:
        size *= 2
    parts = [slice(at, at + size) for at in range(0, len(files) - size + 1, size)]
    assert all(captions(ours(part)) == theirs(part) for part in parts[:WARMUP]), "the sides must do the same work"
    times: dict[str, list[tuple[float, float]]] = {"ours": [], "theirs": []}
    sides = [("ours", ours), ("theirs", theirs)]
    while min(sum(wall for wall, _ in steps) for steps in times.values()) < seconds:
        part = parts[len(times["ours"]) % len(parts)]
        for name, caption in sides:
            times[name].append(timed(partial(caption, part)))
        sides.reverse()  # whoever runs second finds warmer caches
    print(f"start-up: {built_s:.2f} s to load, import included; {first_s:.2f} s for the first batch of 8")
    for clock, what in enumerate(("wall clock", "processor time")):
        mine, bares = ([step[clock] for step in times[name]] for name in ("ours", "theirs"))
        median, low, high = ratio_with_interval(mine, bares)
        speed, bare_speed = (size / float(np.median(steps)) for steps in (mine, bares))
        print(f"{what}: actor {speed:.1f} captions/s, bare generate loop {bare_speed:.1f} captions/s; ratio ", end="")
        print(f"{median:.3f}, 95 % interval {low:.3f} to {high:.3f} ({len(mine)} steps of {size} each, one thread)")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
