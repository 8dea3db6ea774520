"""Five prompts in one visit against five separate passes, and the limit that separately timed parts allow.

A separate pass decodes, encodes and reads the image for its one prompt; a visit does these once and then answers all
prompts. The parts (decode and preprocess, vision tower, prefill of the common prefix, prefill of the rest, decoding
steps) are timed one by one with plain forwards, at the batch sizes that each way has; the limit is the ratio of their
sums. Two models: the embedded VLM, whose tower is small, and a LLaVA-NeXT with random weights and five tiles an image,
where the image is most of the work, as it is for large ones. One thread; answers of a fixed length. Times are processor
time: what the wall clock shows on a machine that nobody else uses.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.captioning_loop import jpeg
from benchmarks.pairs import ratio_with_interval
from benchmarks.pairs import timed as timed_by_both_clocks
from orchestrator.captioners import TransformersCaptionerSettings, Visit
from orchestrator.captioners.prompts import PROMPTS, inject_class
from orchestrator.datasets.index import decode_rgb
from orchestrator.teachers.weights import resolve_model

NEW_TOKENS, LEAST_ROUNDS = 16, 7
ASKED = tuple(
    inject_class(PROMPTS[name], "dax") for name in ("general", "targeted_1", "targeted_2", "targeted_3", "targeted_4")
)
PARTS = ("decode and preprocess", "vision tower", "prefill of the prefix", "prefill of the rest", "decoding steps")


def timed(work: Callable[[], object]) -> float:
    """Processor seconds of one call."""
    return timed_by_both_clocks(work)[1]


def llava_next(folder: Path) -> str:
    """A LLaVA-NeXT of 22 million random weights: 5 tiles of 196 patches an image, a decoder of 4 layers."""
    import transformers as hf

    tokenizer = hf.AutoTokenizer.from_pretrained(resolve_model("embedded:tiny_vlm"), model_max_length=2048)
    numbers = {"bos_token_id": 1, "eos_token_id": 5, "pad_token_id": 0}
    sizes: dict[str, Any] = {"intermediate_size": 1536, "num_attention_heads": 6, "hidden_size": 384}
    text = {"hidden_size": 256, "intermediate_size": 768, "num_attention_heads": 4, "num_hidden_layers": 4, **numbers}
    torch.manual_seed(0)
    model = hf.LlavaNextForConditionalGeneration(
        hf.LlavaNextConfig(
            vision_config=hf.CLIPVisionConfig(num_hidden_layers=10, image_size=224, patch_size=16, **sizes),
            text_config=hf.LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=2048, **text),
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
            image_grid_pinpoints=[[448, 448]],
        )
    )
    model.save_pretrained(folder)
    hf.LlavaNextProcessor(
        hf.LlavaNextImageProcessor(
            size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}, image_grid_pinpoints=[[448, 448]]
        ),
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    ).save_pretrained(folder)
    return str(folder)


def photograph(number: int) -> bytes:
    """A scene at 640 by 640 pixels."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(jpeg(number))).resize((640, 640), Image.Resampling.BICUBIC).save(buffer, "JPEG")
    return buffer.getvalue()


class Parts:
    """The parts of a pass over a batch of images, each a plain call that can be timed."""

    def __init__(self, source: str, files: list[bytes]) -> None:
        import transformers as hf

        self.files = files
        self.processor = hf.AutoProcessor.from_pretrained(source)
        self.model = hf.AutoModelForImageTextToText.from_pretrained(source, dtype=torch.float32).eval()
        turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": ASKED[0]}]}
        self.chat = self.processor.apply_chat_template([turn], add_generation_prompt=True)
        self.batch = self.preprocess()
        rows = self.batch["input_ids"]
        self.num_image = int((rows[0] == self.processor.image_token_id).nonzero().max()) + 1
        self.features = self.encode()
        self.prefix = self.read_prefix()

    def preprocess(self) -> Any:
        """Bytes to the processor's tensors."""
        images = [decode_rgb(file) for file in self.files]
        return self.processor(images=images, text=[self.chat] * len(images), padding=True, return_tensors="pt")

    def encode(self) -> Any:
        """Tower and projector."""
        wanted = {name: self.batch[name] for name in ("pixel_values", "image_sizes") if name in self.batch}
        return self.model.base_model.get_image_features(**wanted, return_dict=True)

    def read_prefix(self) -> Any:
        """The decoder over chat frame and image tokens."""
        ids = self.batch["input_ids"][:, : self.num_image]
        done = self.model(input_ids=ids, mm_encoder_outputs={"image": self.features}, use_cache=True, logits_to_keep=1)
        return done.past_key_values

    def read_rest(self, num_prompts: int) -> Any:
        """The cache copied to each prompt's row, and the decoder over the rest of the prompts."""
        cache = self._copy(num_prompts)
        ids = self.batch["input_ids"][:, self.num_image :].repeat_interleave(num_prompts, dim=0)
        return self.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).past_key_values

    def write(self, cache: Any, num_prompts: int) -> None:
        """The answers' tokens, one by one."""
        token = torch.full((len(self.files) * num_prompts, 1), 7)
        for _ in range(NEW_TOKENS - 1):  # the first token came out of the prompt
            logits = self.model(input_ids=token, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
            token = logits[:, -1].argmax(dim=-1, keepdim=True)

    def _copy(self, num_prompts: int) -> Any:
        from transformers import DynamicCache

        cache = DynamicCache(config=self.model.config.get_text_config(decoder=True))
        for at, layer in enumerate(self.prefix.layers):
            cache.update(layer.keys, layer.values, at)
        cache.batch_repeat_interleave(num_prompts)
        return cache

    def times(self, num_prompts: int) -> list[float]:
        """Seconds of each of `PARTS` for one pass that asks `num_prompts` prompts of each image."""
        first = [timed(self.preprocess), timed(self.encode), timed(self.read_prefix)]
        cache: list[Any] = []
        rest = timed(lambda: cache.append(self.read_rest(num_prompts)))
        return [*first, rest, timed(lambda: self.write(cache[0], num_prompts))]


def measure(name: str, source: str, files: list[bytes], seconds: float) -> None:
    """Both ways and the parts, interleaved until `seconds` have passed; prints."""
    captioner = TransformersCaptionerSettings(
        model=source, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS
    ).build()

    def visit(*passes: tuple[str, ...]) -> list[list[list[Any]]]:
        return [captioner.caption([Visit(decode_rgb(file), prompts) for file in files]) for prompts in passes]

    one: Callable[[], Any] = lambda: visit(ASKED)  # noqa: E731
    five: Callable[[], Any] = lambda: visit(*((prompt,) for prompt in ASKED))  # noqa: E731
    together, apart = one()[0], five()
    agree = sum(together[i][q] == apart[q][i][0] for i in range(len(files)) for q in range(len(ASKED)))
    with torch.inference_mode():
        parts = Parts(resolve_model(source), files)
        times: dict[str, list[Any]] = {"one": [], "five": [], "parts of one": [], "parts of five": []}
        started = time.perf_counter()
        while time.perf_counter() - started < seconds or len(times["one"]) < LEAST_ROUNDS:
            times["one"].append(timed(one))
            times["five"].append(timed(five))
            times["parts of one"].append(parts.times(len(ASKED)))
            times["parts of five"].append(parts.times(1))
    in_one, in_five = (np.median(times[f"parts of {way}"], axis=0) for way in ("one", "five"))
    ratio, low, high = ratio_with_interval(times["one"], times["five"])
    print(f"{name}: {len(files)} images, {len(ASKED)} prompts each, {NEW_TOKENS} tokens an answer, one thread")
    print(f"  {'part, ms':24}{'one visit':>12}{'five passes':>14}")
    for part, once, again in zip(PARTS, in_one, in_five * len(ASKED), strict=True):
        print(f"  {part:24}{once * 1000:12.1f}{again * 1000:14.1f}")
    print(f"  {'sum':24}{in_one.sum() * 1000:12.1f}{in_five.sum() * len(ASKED) * 1000:14.1f}")
    print(f"  {'measured':24}{np.median(times['one']) * 1000:12.1f}{np.median(times['five']) * 1000:14.1f}")
    print(f"  limit of the ratio {in_five.sum() * len(ASKED) / in_one.sum():.2f}; measured {ratio:.2f}, ", end="")
    print(f"95 % interval {low:.2f} to {high:.2f} ({len(times['one'])} interleaved rounds)")
    print(f"  answers that are the same both ways: {agree} of {len(files) * len(ASKED)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="least time of each model, in seconds")
    seconds = parser.parse_args().seconds
    torch.set_num_threads(1)
    measure("embedded:tiny_vlm", "embedded:tiny_vlm", [jpeg(number) for number in range(32)], seconds)
    with tempfile.TemporaryDirectory() as folder:
        files = [photograph(number) for number in range(2)]
        measure("LLaVA-NeXT, random weights", llava_next(Path(folder)), files, seconds)


if __name__ == "__main__":
    main()
