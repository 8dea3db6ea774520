"""Stage `embed`: the embeddings of an experiment's texts and images, as a view over the content-addressed stores.

Reads index, captions and written descriptions; commits missing rows to the stores; writes which rows the experiment's
texts, classes and images are (see `artifacts/embeddings.py`), and their hot copies, which training maps. Knows nothing
of losses.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator import vocabulary
from orchestrator.artifacts import embeddings
from orchestrator.artifacts.embeddings import GROUPS, Embeddings, EmbeddingsHeader
from orchestrator.artifacts.storage import read_table, write_atomically, write_json, write_table
from orchestrator.artifacts.teacher_store import KEY
from orchestrator.captioners.texts import Group, TextSource
from orchestrator.datasets.index import DatasetIndex
from orchestrator.evaluation.shot_accuracy import shot_accuracy
from orchestrator.stages import caption, describe, index, text_thresholds, tune
from orchestrator.stages.context import Context, Counts, Plan
from orchestrator.stages.embed_views import RENDERER, encoded_views, recipe_of, shares_encoder, splits_as_they_are
from orchestrator.stages.encoded import Encoded, encoded_images, encoded_texts
from orchestrator.stages.texts import class_texts, domain_texts, texts_in, texts_of, vectors_of_groups
from orchestrator.teachers import BothTowers, text_identity
from orchestrator.teachers.encoder import ATTENTION, EMBEDDING, TOKENS

READS = ("index", "describe", "caption", "tune")
CHUNK = 4096  # images scored, or groups averaged, at a time


def plan(context: Context, parents: Mapping[str, Plan], data_seed: int | None = None) -> Plan:
    """The view depends on index, captions, written descriptions, the text sources, the encoders and their views.

    Args:
        data_seed: of trainings on another seed than the experiment's own, for which the teacher sees other views.
    """
    experiment = context.experiment
    teacher = tune.teacher_of(context)
    scale = teacher.logit_scale if isinstance(teacher, BothTowers) else 0.0
    settings = {
        "texts": {name: text.identity() for name, text in experiment.texts.items()},
        "class_text": experiment.class_text and experiment.class_text.identity(),
        "domain_texts": list(experiment.domain_texts),
        "text_encoder": text_identity(experiment.text_encoder),
        "image_teacher": teacher and {**teacher.identity(), "logit_scale": scale},
    }
    folder = "embeddings"
    if (recipe := recipe_of(experiment, data_seed)) is not None:
        settings["image_teacher_views"] = {**recipe.model_dump(mode="json"), "renderer": RENDERER}
        if recipe.data_seed != experiment.training.data_seed:
            folder = f"embeddings-seed-{recipe.data_seed}"
    fingerprints = {name: parents[name].identity for name in READS if name in parents}
    return Plan("embed", context.texts_folder / folder, settings, fingerprints, is_view=True)


def make(context: Context, parents: Mapping[str, Plan], data_seed: int | None = None) -> Plan:
    """Make or reuse the embeddings; only texts and images missing from the stores go through a model."""
    planned = plan(context, parents, data_seed)

    def build(folder: Path) -> tuple[Counts, Mapping[str, float]]:
        experiment, recipe = context.experiment, recipe_of(context.experiment, data_seed)
        encoder, teacher = experiment.text_encoder, tune.teacher_of(context)
        data = index.load(context)
        train = data.images.filter(pc.equal(data.images["split"], vocabulary.SPLIT_TRAIN))
        captions, written = read_table(parents["caption"].folder / caption.CAPTIONS), describe.load(parents)
        sources: dict[str, Sequence[Choice]] = {
            name: _choices(text, texts_of(text, train, data.classes, captions, written))
            for name, text in experiment.texts.items()
        }
        others = _texts_of_others(context, data, captions, written)
        every = [*sources.values(), *(found for columns in others.values() for found in columns.values())]
        groups = list(dict.fromkeys(one for found in every for group in found for one in _alone(group)))
        rows = {group: row for row, group in enumerate(groups)}
        columns = {name: _column(found, rows) for name, found in sources.items()}
        write_table(folder / embeddings.TEXT_ROWS, pa.table({"image_id": train["image_id"], **columns}))
        for split, of_split in others.items():
            numbers = {name: _column(found, rows) for name, found in of_split.items()}
            write_table(folder / embeddings.text_rows_name(split), pa.table(numbers))

        unique = texts_in(groups)
        texts = encoded_texts(context, encoder, unique or [""])
        arrays = {"texts": texts.array(folder, embeddings.TEXTS, EMBEDDING)}
        write_table(folder / embeddings.TEXTS, texts.table.select(["text", KEY]))
        classes: Encoded | None = None
        of_classes = class_texts(data.classes, experiment.class_text, written)
        if isinstance(teacher, BothTowers):
            classes = encoded_texts(context, teacher, texts_in(of_classes) or [""])
            arrays["classes"] = classes.array(folder, embeddings.CLASSES, EMBEDDING)
            write_table(folder / embeddings.CLASSES, classes.table.select(["text", KEY]))
        domains: Encoded | None = None
        of_domains = domain_texts(data.classes, experiment.domain_texts)
        if isinstance(teacher, BothTowers) and of_domains:
            domains = encoded_texts(context, teacher, texts_in(of_domains))
            arrays["domains"] = domains.array(folder, embeddings.DOMAINS, EMBEDDING)
            write_table(folder / embeddings.DOMAINS, domains.table.select(["text", KEY]))
        # With one encoder for both, one pool of actors embeds the class texts too.
        shared = shares_encoder(experiment)
        counts: Counts = {
            "texts": len(unique),
            "texts_embedded": texts.make_missing(context, also=classes if shared else None),
            "texts_over_length": texts.num_over_length() if unique else 0,
        }
        if cut := counts["texts_over_length"]:
            limit = f"the {texts.info['context_length']} tokens of {encoder.label()}"
            context.feedback.event("embed", f"{cut:,} of {len(unique):,} texts exceed {limit} and were cut")
        if classes is not None and not shared:
            classes.make_missing(context)
        if domains is not None:
            domains.make_missing(context)
        told = {"text_encoder": texts.info}
        scale = 0.0
        if teacher is not None:
            splits = splits_as_they_are(experiment)
            shown = data.images.filter(pc.is_in(data.images["split"], value_set=pa.array(splits)))
            images = encoded_images(context, teacher, shown)
            counts |= {"images_embedded": images.make_missing(context), "images": data.images.num_rows}
            write_table(folder / embeddings.IMAGES, images.table.select(["image_id", "split", KEY]))
            for split in splits:
                for output in teacher.outputs:
                    arrays[f"images/{split}/{output}"] = images.array(folder, embeddings.IMAGES, output, split)
            if recipe is not None:
                views = encoded_views(context, teacher, recipe, train)
                counts |= {"views_embedded": views.make_missing(context), "views": views.table.num_rows}
                write_table(folder / embeddings.IMAGE_VIEWS, views.table)
                for output in teacher.outputs:
                    arrays[f"views/{output}"] = views.array(folder, embeddings.IMAGE_VIEWS, output)
            told["image_teacher"] = images.info
            scale = teacher.logit_scale if isinstance(teacher, BothTowers) else 0.0
        header = EmbeddingsHeader(
            sources=tuple(sources), logit_scale=scale, arrays=arrays, encoders=told,
            views=None if recipe is None else recipe.model_dump(mode="json"),
        )  # fmt: skip
        write_json(folder / embeddings.HEADER, header.model_dump(mode="json"))
        made = Embeddings(folder, context.hot_copies)
        for name, array in arrays.items():
            # what training reads; the large ones, which few losses want, and other splits' are built when opened
            if array.split in (None, vocabulary.SPLIT_TRAIN) and array.column not in (TOKENS, ATTENTION):
                made.open(name)
        _write_groups(made, "texts", groups or [("",)])
        if classes is not None:
            _write_groups(made, "classes", of_classes)
        if domains is not None:
            _write_groups(made, "domains", of_domains)
        counts |= text_thresholds.apply(context, folder, data, captions)
        return counts, {} if classes is None else _teacher_accuracy(data, made)

    context.make(planned, build)
    return planned


Choice = Group | list[Group] | None  # of an image: its group, or groups of which each step of a training draws one


def _choices(source: TextSource, found: Sequence[Group | None]) -> Sequence[Choice]:
    """What each image has from a source: where one of several texts is drawn, each of them is a group of its own."""
    if not source.draws_one:
        return found
    return [[(text,) for text in group] if isinstance(group, tuple) else [] for group in found]


def _alone(choice: Choice) -> Sequence[Group]:
    return () if choice is None else choice if isinstance(choice, list) else (choice,)


def _column(choices: Sequence[Choice], rows: Mapping[Group, int]) -> pa.Array:
    """Row numbers of groups, -1 where there is none; lists of them where one is drawn."""
    if any(isinstance(choice, list) for choice in choices):
        return pa.array([[rows[group] for group in _alone(choice)] for choice in choices], pa.list_(pa.int64()))
    return pa.array([-1 if choice is None else rows[_alone(choice)[0]] for choice in choices], pa.int64())


def _texts_of_others(
    context: Context, data: DatasetIndex, captions: pa.Table, written: pa.Table | None
) -> dict[str, dict[str, list[Group | None]]]:
    """Split -> source -> the texts of its images, for the captioned splits besides the training split.

    Students with a text side are evaluated on such pairs, which they have not seen.
    """
    experiment = context.experiment
    found: dict[str, dict[str, list[Group | None]]] = {}
    for split in experiment.caption_splits:
        if split == vocabulary.SPLIT_TRAIN:
            continue
        images = data.images.filter(pc.equal(data.images["split"], split))
        found[split] = {
            name: list(texts_of(text, images, data.classes, captions, written))
            for name, text in experiment.texts.items()
        }
    return found


def _write_groups(made: Embeddings, name: str, groups: Sequence[Group]) -> None:
    """Write the vectors of groups, some at a time, unless each is one text, with its row in the array of texts."""
    unique = texts_in(groups)
    if list(groups) == [(text,) for text in unique]:
        return
    copy = made.open(name)
    row = {text: position for position, text in enumerate(unique)}
    width, dtype = copy.array.shape[1], copy.array.dtype

    def write(temporary: Path) -> None:
        mapped = np.lib.format.open_memmap(temporary, "w+", dtype, (len(groups), width))
        for start in range(0, len(groups), CHUNK):
            chunk = groups[start : start + CHUNK]
            texts = texts_in(chunk) or [unique[0]] if unique else [""]
            vectors = copy.rows(np.array([row.get(text, 0) for text in texts], np.int64)).astype(np.float32)
            mapped[start : start + CHUNK] = vectors_of_groups(chunk, texts, vectors)
        mapped.flush()

    write_atomically(made.folder / GROUPS[name], write)


def _teacher_accuracy(data: DatasetIndex, made: Embeddings) -> dict[str, float]:
    """Zero-shot accuracy of the image teacher by the class texts, on the selection and the report split.

    With unseen classes each split is classified among its own, and so are validation classes, as `select/unseen_...`:
    the ceiling of what students are measured by.
    """
    class_vectors = made.vectors("classes")
    assert class_vectors is not None
    class_vectors = class_vectors.astype(np.float32)
    groups = data.class_groups()
    num_classes = groups.num_classes
    labels = data.images["label"].to_numpy()
    splits = np.array(data.images["split"].to_pylist())
    counts = np.bincount(labels[splits == vocabulary.SPLIT_TRAIN], minlength=num_classes)

    def accuracy(split: str, among: range) -> dict[str, float]:
        images, truth = made.open(f"images/{split}/{EMBEDDING}").array, labels[splits == split]
        texts, hits = class_vectors[among.start : among.stop].T, np.zeros(num_classes, np.int64)
        rows = np.flatnonzero((truth >= among.start) & (truth < among.stop))
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            predicted = among.start + (images[chunk].astype(np.float32) @ texts).argmax(1)
            hits += np.bincount(truth[chunk][predicted == truth[chunk]], minlength=num_classes)
        return shot_accuracy(hits, np.bincount(truth[rows], minlength=num_classes), counts)

    metrics = {
        f"{split}/{name}": value
        for split in (vocabulary.SPLIT_SELECT, vocabulary.SPLIT_REPORT)
        for name, value in accuracy(split, groups.told_apart(split)).items()
    }
    if groups.validation:
        unseen = accuracy(vocabulary.SPLIT_SELECT, groups.validation)
        metrics |= {
            vocabulary.UNSEEN_SELECTED_ALL: unseen["all"],
            vocabulary.UNSEEN_SELECTED_MEAN: unseen["mean_per_class"],
        }
    return metrics
