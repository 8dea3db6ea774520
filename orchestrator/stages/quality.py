"""Stage `quality`: what the captions are worth: measures of each, and their sums by prompt, class and frequency group.

Reads index, captions and embeddings; writes `quality.parquet` (a row for each caption) and `quality.json` (the sums).
No model runs here. Knows nothing of captioners and of training.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.artifacts.embeddings import Embeddings
from orchestrator.artifacts.storage import read_json, read_table, write_json, write_table
from orchestrator.artifacts.teacher_store import KEY
from orchestrator.captioners.prompts import CLASS_FIELD
from orchestrator.captioners.texts import CaptionText
from orchestrator.datasets.index import DatasetIndex
from orchestrator.evaluation.caption_quality import Floats, cosines, measure_captions
from orchestrator.evaluation.caption_summary import bin_edges, histogram, summarise
from orchestrator.evaluation.shot_accuracy import shot_groups
from orchestrator.stages import caption, index, text_thresholds
from orchestrator.stages.context import Context, Counts, Plan
from orchestrator.stages.embed_views import shares_encoder
from orchestrator.stages.text_thresholds import origins, own_rows
from orchestrator.vocabulary import SPLIT_TRAIN

if TYPE_CHECKING:
    import pandas as pd

MEASURES, SUMS = "quality.parquet", "quality.json"
VERSION = 1  # of the measures: another number makes every quality artifact anew
ALL = "all"


def plan(context: Context, parents: Mapping[str, Plan]) -> Plan:
    """Quality depends on what was captioned and on how that was embedded; it can always be measured again."""
    fingerprints = {name: parent.identity for name, parent in parents.items()}
    settings = {"measures": VERSION, "joint_space": _has_joint_space(context)}
    return Plan("quality", context.folder / "quality", settings, fingerprints, is_view=True)


def make(context: Context, parents: Mapping[str, Plan]) -> Plan:
    """Make or reuse the measures; without a caption, tables without rows."""
    planned = plan(context, parents)

    def build(folder: Path) -> tuple[Counts, Mapping[str, float]]:
        data = index.load(context)
        rows = read_table(parents["caption"].folder / caption.CAPTIONS)
        cosine, unscored = _cosines(context, parents["embed"].folder, data, rows)
        measured = _measured(data, rows, cosine)
        write_table(folder / MEASURES, pa.Table.from_pandas(measured, preserve_index=False))
        sums = _sums(context, data, measured)
        write_json(folder / SUMS, {"unscored": unscored, **sums})
        for prompt, groups in sums["prompts"].items():
            context.feedback.event("quality", f"{prompt}: {_in_words(groups[ALL])}")
        counts = {"captions": len(measured), "scored": int(measured["clip_score"].notna().sum())}
        flags = ("empty", "repeats", "cut_off", "duplicate_across_classes", "names_class")
        return {**counts, **{flag: int(measured[flag].sum()) for flag in flags}}, {}

    context.make(planned, build)
    return planned


def load(planned: Plan) -> "tuple[pd.DataFrame, dict[str, Any]]":
    """The measures of each caption, and their sums, of a finished artifact."""
    return read_table(planned.folder / MEASURES).to_pandas(), read_json(planned.folder / SUMS)


def _has_joint_space(context: Context) -> bool:
    """Whether texts and images are embedded by the same encoder, so that their cosine means something."""
    return shares_encoder(context.experiment)


def _cosines(context: Context, folder: Path, data: DatasetIndex, rows: pa.Table) -> tuple[Floats, list[str]]:
    """Cosine of each caption with its image, NaN where the embeddings lack one of them; and in words what they lack."""
    cosine = np.full(rows.num_rows, np.nan, np.float32)
    if not _has_joint_space(context):
        return cosine, ["No CLIP score: text_encoder and image_teacher are not one encoder of texts and images."]
    train = data.images.filter(pc.equal(data.images["split"], SPLIT_TRAIN))
    sources: dict[str, str] = {}
    for name, text in context.experiment.texts.items():
        if isinstance(text, CaptionText) and len(text.prompts()) == 1:  # joined answers have no embedding each
            sources.setdefault(text.prompts()[0], name)
    texts, images = text_thresholds.joint_vectors(Embeddings(folder, context.hot_copies))
    positions = pc.index_in(rows["image_id"], value_set=train["image_id"].combine_chunks()).fill_null(-1).to_numpy()
    prompts = np.asarray(rows["prompt"].to_pylist(), dtype=object)
    for prompt, source in sources.items():
        chosen = np.flatnonzero((prompts == prompt) & (positions >= 0))
        by_image = _text_rows(context, folder, train, source)
        cosine[chosen] = cosines(texts, by_image[positions[chosen]], images, positions[chosen])
    unscored = [
        f"No CLIP score for {prompt}: no text source holds just its captions, so they were not embedded."
        for prompt in context.experiment.prompt_texts()
        if prompt not in sources
    ]
    if (positions < 0).any():
        unscored.append("No CLIP score outside the training split: image embeddings are kept for training images.")
    return cosine, unscored


def _text_rows(context: Context, folder: Path, train: pa.Table, source: str) -> npt.NDArray[np.int64]:
    """The row of the text vectors of each training image's own caption, also of one that thresholds dropped."""
    text = context.experiment.texts[source]
    assert isinstance(text, CaptionText)
    given = read_table(folder / text_thresholds.TEXT_ROWS, columns=[source])[source].to_numpy()
    found = own_rows(given, origins(text, train["label"].to_pylist())).astype(np.int64)
    path = folder / text_thresholds.DROPPED
    if path.is_file():
        dropped = read_table(path)
        dropped = dropped.filter(pc.equal(dropped["source"], source))
        places = pc.index_in(dropped["image_id"], value_set=train["image_id"].combine_chunks()).to_numpy()
        found[places] = dropped["text_row"].to_numpy()
    return found


def _measured(data: DatasetIndex, rows: pa.Table, cosine: Floats) -> "pd.DataFrame":
    """`measure_captions` with key, image, split, prompt, label and frequency group beside it."""
    import pandas as pd

    places = pc.index_in(rows["image_id"], value_set=data.images["image_id"].combine_chunks())
    labels = data.images["label"].take(places).to_numpy()
    groups = np.array(shot_groups(data.class_counts(SPLIT_TRAIN)))[labels]
    named = rows.select([KEY, "image_id", "split", "prompt"]).to_pandas().assign(label=labels, group=groups)
    captions, prompts = rows["caption"].to_pylist(), rows["prompt"].to_pylist()
    measures = measure_captions(captions, prompts, labels, data.classes["name"].to_pylist(), cosine)
    return pd.concat([named, measures], axis=1)


def _sums(context: Context, data: DatasetIndex, measured: "pd.DataFrame") -> dict[str, Any]:
    import pandas as pd

    experiment = context.experiment
    asked = data.images.filter(pc.is_in(data.images["split"], pa.array(list(experiment.caption_splits))))
    asked_by_class = np.bincount(asked["label"].to_numpy(), minlength=data.classes.num_rows)
    groups = np.array(shot_groups(data.class_counts(SPLIT_TRAIN)))
    asked_by_group = {ALL: int(asked_by_class.sum())}
    asked_by_group |= {name: int(asked_by_class[groups == name].sum()) for name in text_thresholds.GROUPS}
    whole = measured.assign(group=ALL)
    by_group = pd.concat([summarise(whole, ["prompt", "group"]), summarise(measured, ["prompt", "group"])])
    by_class = summarise(measured, ["prompt", "label"])
    texts = experiment.prompt_texts()
    prompts: dict[str, Any] = {prompt: {} for prompt in texts}
    for (prompt, group), row in _rows(by_group):
        prompts[prompt][group] = {"images": asked_by_group[group], **_plain(row)}
    classes: dict[str, list[dict[str, Any]]] = {prompt: [] for prompt in texts}
    for (prompt, label), row in _rows(by_class):
        classes[prompt].append({"label": int(label), "images": int(asked_by_class[label]), **_plain(row)})
    return {
        "prompts": {prompt: found for prompt, found in prompts.items() if found},
        "classes": {prompt: found for prompt, found in classes.items() if found},
        "class_in_prompt": [prompt for prompt, text in texts.items() if CLASS_FIELD in text],
        "histograms": {name: _histograms(measured, name) for name in ("words", "clip_score")},
    }


def _rows(table: "pd.DataFrame") -> Iterator[tuple[Any, dict[str, Any]]]:
    return zip(table.index, table.to_dict("records"), strict=True)  # type: ignore[arg-type]


def _plain(row: Mapping[str, Any]) -> dict[str, float | None]:
    """A row of sums as JSON: whole numbers as such, null for what was not measured."""
    counted = {"captions", "scored", "longest_run_max"}
    return {
        name: int(value) if name in counted else None if math.isnan(value) else round(float(value), 6)
        for name, value in row.items()
    }


def _histograms(measured: "pd.DataFrame", name: str) -> dict[str, Any]:
    import pandas as pd

    values = measured[name].to_numpy().astype(np.float64)
    edges = bin_edges(values, whole=name == "words")
    shares = {
        str(prompt): histogram(values[(measured["prompt"] == prompt).to_numpy()], edges)
        for prompt in pd.unique(measured["prompt"])
    }
    return {"edges": edges.tolist(), "shares": {prompt: found for prompt, found in shares.items() if any(found)}}


def _in_words(sums: Mapping[str, Any]) -> str:
    score = sums["clip_score_mean"]
    return (
        f"{sums['captions']:,} captions, median {sums['words_median']:.0f} words, "
        f"{100 * sums['repeats']:.1f} % repeat themselves, "
        f"{100 * sums['duplicate_across_classes']:.1f} % also said of another class, "
        f"{100 * sums['names_class']:.1f} % name the class, "
        f"CLIP score {'n/a' if score is None else format(score, '.3f')}"
    )
