"""The image teacher's views: kept rows are what the live teacher says of the very picture that the student sees."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pytest
import torch
from PIL import Image

from orchestrator.artifacts.teacher_store import TeacherStore
from orchestrator.config.load import with_overrides
from orchestrator.datasets.index import decode_rgb, read_image_bytes
from orchestrator.errors import ArtifactError
from orchestrator.executors.in_process import InProcessExecutor
from orchestrator.executors.protocol import OnReceipt, OnStall, TableWorker
from orchestrator.stages import embed, index
from orchestrator.stages.embed_views import recipe_of, rows_of_views
from orchestrator.stages.verify import stores_below
from orchestrator.teachers.encoder import EMBEDDING
from orchestrator.training.assembly import build_model
from orchestrator.training.data import TeacherData, load_split, load_teacher
from orchestrator.training.draws import image_keys
from orchestrator.training.loop import Trainer
from orchestrator.training.model import IMAGE
from orchestrator.training.order import Place
from orchestrator.training.teacher_views import LiveTeacher
from orchestrator.training.views import scale_pixels
from orchestrator.vocabulary import TEACHER_IMAGE, TEACHER_LOGITS
from tests.smoke_line import SmokeLine, make_smoke_line

NUM_VIEWS = 4
WORLD = {"dataset.max_count": 32, "dataset.imbalance_ratio": 4}
CLIP: dict[str, Any] = {
    **WORLD,
    "image_teacher": {"kind": "open_clip", "model": "embedded:tiny_clip"},
    "text_encoder": {"kind": "open_clip", "model": "embedded:tiny_clip"},
    "image_size": 64,
    "training.views": {"pad": 6, "flip": True, "brightness": 0.1, "contrast": 0.2},
}
LIGHT = {
    "training.views": {"pad": 4, "flip": True, "brightness": 0.1},  # no two views of these are alike
    "text_encoder": {"kind": "hashed", "dim": 8},  # another encoder than the image teacher: no caption is scored
}


@pytest.fixture(scope="module")
def clip_line(tmp_path_factory: pytest.TempPathFactory) -> SmokeLine:
    """The smoke world up to the shards, its image teacher being the embedded CLIP that sees four views."""
    return make_smoke_line(tmp_path_factory.mktemp("clip"), NUM_VIEWS, CLIP)


def looking_at(made: SmokeLine) -> LiveTeacher:
    """The image teacher of a line, looking now."""
    experiment = made.context.experiment
    recipe, teacher = recipe_of(experiment), experiment.image_teacher
    assert recipe is not None
    assert teacher is not None
    images = index.load(made.context).images
    train = images.filter(pc.equal(images["split"], "train"))
    addresses = list(zip(*(train[name].to_pylist() for name in ("path", "offset", "size")), strict=True))
    return LiveTeacher(teacher.build_image(), addresses, image_keys(train["image_id"].to_pylist()), recipe)


@pytest.fixture(scope="module")
def kept(clip_line: SmokeLine) -> TeacherData:
    """What training reads."""
    return load_teacher(clip_line.plans["embed"].folder, ("truth",))


@pytest.fixture(scope="module")
def live(clip_line: SmokeLine) -> LiveTeacher:
    """The same teacher, looking now."""
    return looking_at(clip_line)


def cosines(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    one, other = one.astype(np.float64), other.astype(np.float64)
    return np.asarray((one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1))


def rows_kept(kept: TeacherData, rows: npt.NDArray[np.int64], view: int) -> npt.NDArray[Any]:
    return kept.image_rows(rows, view)[EMBEDDING]


def test_kept_rows_equal_the_live_teacher_on_the_same_view_and_a_naive_cache_does_not(
    kept: TeacherData, live: LiveTeacher
) -> None:
    rows = np.arange(len(live.keys))
    assert len(rows) >= 64
    shuffled = np.random.default_rng(0).permutation(rows)
    plain = live.encode([decode_rgb(read_image_bytes(*address)) for address in live.addresses])[EMBEDDING]
    same, unaugmented, mirrored, other_view = [], [], [], []
    for view in range(NUM_VIEWS):
        looked, mirror = np.empty_like(plain), np.empty_like(plain)
        for start in range(0, len(rows), 29):  # other batches, in another order, than the actor's
            part = shuffled[start : start + 29]
            looked[part] = live(part, view)[EMBEDDING]
            pictures = [picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for picture in live.pictures(part, view)]
            mirror[part] = live.encode(pictures)[EMBEDDING]
        same.append(cosines(rows_kept(kept, rows, view), looked))
        unaugmented.append(cosines(plain, looked))
        mirrored.append(cosines(mirror, looked))
        other_view.append(cosines(rows_kept(kept, rows, (view + 1) % NUM_VIEWS), looked))
    assert np.min(same) >= 0.9999
    for naive in (unaugmented, mirrored, other_view):  # what a cache would give that knows no views, or the wrong ones
        assert np.mean(naive) < 0.98
        assert np.min(naive) < 0.8


@pytest.mark.parametrize(
    ("recipe", "framing", "frame_size"),
    [("randclsstack", "crop", 96), ("cifar", "crop", None), ("ood_vit", "stretch", 96), ("livt", "crop", 80)],
)
def test_kept_rows_of_recipes_equal_the_live_teacher_on_the_picture_that_the_student_sees(
    recipe: str, framing: str, frame_size: int | None, tmp_path: Path
) -> None:
    views = {"kind": "augmented", "recipe": recipe}
    made = make_smoke_line(tmp_path, 2, {**CLIP, "framing": framing, "frame_size": frame_size, "training.views": views})
    live, kept = looking_at(made), load_teacher(made.plans["embed"].folder, ("truth",))
    job = made.job(tmp_path / "job")
    images = load_split(Path(job.shards), "train")
    assert images.pixels.shape[1] == (frame_size or 64)
    counts = tuple(np.bincount(images.labels, minlength=job.num_classes).tolist())
    model = build_model(job, counts, kept.dims)
    trainer = Trainer(model, job.training, images, kept, device=torch.device("cpu"), image_size=job.image_size)
    rows = np.random.default_rng(0).permutation(len(live.keys))[:40]
    for epoch in (0, 1, 2):
        batch = trainer.make_batch(rows, Place(epoch, 0))
        looked = live(rows, epoch % 2)[EMBEDDING]
        assert cosines(batch[TEACHER_IMAGE].numpy(), looked).min() >= 0.9999
        assert cosines(rows_kept(kept, rows, (epoch + 1) % 2), looked).mean() < 0.99
        assert batch[IMAGE].shape == (40, 3, 64, 64)
        pictures = [picture.resize((64, 64), Image.Resampling.BICUBIC) for picture in live.pictures(rows, epoch % 2)]
        seen = scale_pixels(np.stack([np.asarray(picture) for picture in pictures]))
        apart = (batch[IMAGE] - seen).abs().mean((1, 2, 3)) * 255 * 0.25  # levels; erasing is the student's alone
        assert float(apart.median()) < 8
        wrong = (batch[IMAGE] - seen.roll(1, 0)).abs().mean((1, 2, 3)) * 255 * 0.25
        assert float(wrong.median()) > 3 * float(apart.median())


def test_an_epoch_shows_student_and_teacher_one_view_and_returns_to_it_after_the_kept_ones(
    clip_line: SmokeLine, kept: TeacherData, live: LiveTeacher, tmp_path: Path
) -> None:
    job = clip_line.job(tmp_path / "job")
    images = load_split(Path(job.shards), "train")
    counts = tuple(np.bincount(images.labels, minlength=job.num_classes).tolist())
    model = build_model(job, counts, kept.dims)

    def trainer(teacher: TeacherData | None) -> Trainer:
        return Trainer(model, job.training, images, teacher, device=torch.device("cpu"))

    rows = np.array([61, 3, 40, 3, 17])
    for epoch in (0, 2, 5, 11):
        batch = trainer(kept).make_batch(rows, Place(epoch, 0))
        seen = scale_pixels(np.stack([np.asarray(picture) for picture in live.pictures(rows, epoch % NUM_VIEWS)]))
        inside = batch[IMAGE].abs() < 2  # the teacher's picture is clipped to what 8 bits hold, and rounded
        assert float((batch[IMAGE] - seen)[inside].abs().max()) < 0.5 / (255 * 0.25) + 1e-5
        assert cosines(batch[TEACHER_IMAGE].numpy(), live(rows, epoch % NUM_VIEWS)[EMBEDDING]).min() >= 0.9999
        again = trainer(kept).make_batch(rows, Place(epoch + NUM_VIEWS, 0))
        assert all(torch.equal(batch[name], again[name]) for name in batch)
        assert not torch.equal(batch[IMAGE], trainer(kept).make_batch(rows, Place(epoch + 1, 0))[IMAGE])
    # a training that reads no image teacher, or a live one, is bound to no number of views
    for teacher in (None, kept.texts_only()):
        early, late = (trainer(teacher).make_batch(rows, Place(epoch, 0))[IMAGE] for epoch in (1, 1 + NUM_VIEWS))
        assert not torch.equal(early, late)
        assert torch.equal(early, trainer(kept).make_batch(rows, Place(1, 0))[IMAGE])
    looking = replace(kept, image_vectors=None, image_outputs={}, live=live)
    cached, now = (trainer(teacher).make_batch(rows, Place(1, 0)) for teacher in (kept, looking))
    assert cosines(cached[TEACHER_IMAGE].numpy(), now[TEACHER_IMAGE].numpy()).min() >= 0.9999
    assert float((cached[TEACHER_LOGITS] - now[TEACHER_LOGITS]).abs().max()) < 1e-2  # logits are 100 times a cosine
    assert not torch.equal(now[IMAGE], trainer(looking).make_batch(rows, Place(1 + NUM_VIEWS, 0))[IMAGE])


# --- paying once ------------------------------------------------------------------------------------------------------


def paid(root: Path) -> float:
    """Rows that image models were given."""
    return sum(store.totals()["model_rows"] for store in stores_of_views(root))


def image_vectors(made: SmokeLine) -> npt.NDArray[np.float32]:
    found = load_teacher(made.plans["embed"].folder, ()).image_vectors
    assert found is not None
    return np.array(found)


def num_train(made: SmokeLine) -> int:
    return len(load_split(made.plans["shard"].folder, "train").labels)


def test_more_views_pay_only_the_new_ones_and_another_seed_pays_all(tmp_path: Path) -> None:
    four = make_smoke_line(tmp_path, 4, LIGHT)
    before, first = paid(tmp_path), image_vectors(four)
    count = num_train(four)
    others = index.load(four.context).images.num_rows - count  # seen as they are, for the teacher's accuracy
    assert before == 4 * count + others
    assert first.shape == (4 * count, 16)
    six = make_smoke_line(tmp_path, 6, LIGHT)
    assert paid(tmp_path) == before + 2 * count
    assert np.array_equal(image_vectors(six)[: 4 * count], first)
    assert len(np.unique(image_vectors(six), axis=0)) == 6 * count
    fewer = make_smoke_line(tmp_path, 2, LIGHT)
    assert paid(tmp_path) == before + 2 * count
    assert np.array_equal(image_vectors(fewer), first[: 2 * count])
    make_smoke_line(tmp_path, 2, {**LIGHT, "training.data_seed": 1})
    assert paid(tmp_path) == before + 4 * count
    joint = {name: value for name, value in LIGHT.items() if name != "text_encoder"}
    make_smoke_line(tmp_path, 2, joint)  # captions are scored by the images themselves, so these are embedded too
    assert paid(tmp_path) == before + 5 * count


def test_views_that_are_equal_pictures_are_paid_once(tmp_path: Path) -> None:
    flips = make_smoke_line(tmp_path, 6, {**LIGHT, "training.views": {"pad": 0, "flip": True}})
    count = num_train(flips)
    others = index.load(flips.context).images.num_rows - count
    assert count < paid(tmp_path) - others <= 2 * count  # an image has two such views, of which six draws miss few
    assert flips.plans["embed"].status().value == "reuse"


def test_images_of_equal_bytes_have_views_of_their_own(clip_line: SmokeLine) -> None:
    recipe = recipe_of(clip_line.context.experiment)
    assert recipe is not None
    images = index.load(clip_line.context).images
    twice = images.take([5, 5]).drop_columns(["image_id"]).append_column("image_id", [["one", "two"]])
    (rows,) = rows_of_views(recipe, "teacher", twice)
    assert rows["content_hash"].to_pylist() == [images["content_hash"][5].as_py()] * 2 * NUM_VIEWS
    assert len(set(rows["key"].to_pylist())) == 2 * NUM_VIEWS
    (same,) = rows_of_views(recipe, "teacher", images.take([5, 5]))
    assert len(set(same["key"].to_pylist())) == NUM_VIEWS
    (other,) = rows_of_views(recipe, "another teacher", images.take([5]))
    assert set(other["key"].to_pylist()).isdisjoint(same["key"].to_pylist())


class Cut(InProcessExecutor):
    """Stops for good after some micro-batches, as a machine does that is taken away."""

    def __init__(self, after: int) -> None:
        self.left = after

    def map_table(self, plan: Path, worker: TableWorker, pool: Any, on_receipt: OnReceipt, on_stall: OnStall) -> None:
        """See `Executor`."""

        def count(receipt: Any) -> None:
            on_receipt(receipt)
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

        super().map_table(plan, worker, pool, count, on_stall)


def test_a_stopped_embedding_resumes_to_the_same_bits_and_pays_nothing_twice(
    clip_line: SmokeLine, tmp_path: Path
) -> None:
    whole = make_smoke_line(tmp_path / "whole", NUM_VIEWS, CLIP)
    cut = make_smoke_line(tmp_path / "cut", 0, {**WORLD, "image_size": 64})  # everything but the views
    context, plans = cut.context, dict(cut.plans)
    context.experiment = clip_line.context.experiment
    context.close()
    context.open_executor = lambda: Cut(4)  # texts, other images, and two micro-batches of views
    with pytest.raises(KeyboardInterrupt):
        embed.make(context, plans)
    stopped = paid(tmp_path / "cut")
    context.close()
    context.open_executor = InProcessExecutor
    again = SmokeLine(context, {**plans, "embed": embed.make(context, plans)})
    before = index.load(context).images.num_rows  # what another teacher, without views, was given
    assert before < stopped < paid(tmp_path / "cut") == before + paid(tmp_path / "whole")
    assert np.array_equal(image_vectors(again), image_vectors(whole))
    assert {s.folder.uri.rsplit("/", 1)[-1]: s.digest() for s in stores_of_views(tmp_path / "whole")}.items() <= {
        s.folder.uri.rsplit("/", 1)[-1]: s.digest() for s in stores_of_views(tmp_path / "cut")
    }.items()


def stores_of_views(root: Path) -> list[TeacherStore]:
    return [store for store in stores_below(str(root)) if "image-embeddings" in store.folder.uri]


def test_an_image_that_was_damaged_after_the_index_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    made = make_smoke_line(tmp_path, 0, LIGHT)
    context, before = made.context, paid(tmp_path)
    images = index.load(context).images
    row = images.filter(pc.equal(images["split"], "train")).slice(7, 1).to_pylist()[0]
    data = bytearray(Path(row["path"]).read_bytes())
    data[row["offset"] + row["size"] // 2] ^= 255
    Path(row["path"]).write_bytes(bytes(data))
    context.experiment = with_overrides(context.experiment, {"image_teacher_views": 3}, "test")
    with pytest.raises(ArtifactError, match=r"3 views could not be embedded.*has changed since the index was made"):
        embed.make(context, made.plans)
    assert paid(tmp_path) == before + 3 * (num_train(made) - 1)
