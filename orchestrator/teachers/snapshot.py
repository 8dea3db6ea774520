"""The folder a teacher's weights are loaded from: a local directory, or one commit of a hub repository.

Reads (and, for a hub id, downloads) configuration, tokenizer and safetensors files, and nothing else, so that no
library below can come upon a pickle. Every library then loads from that folder, local and hub weights alike.
"""

from pathlib import Path

from orchestrator.errors import ArtifactError
from orchestrator.teachers.weights import require_pinned, resolve_model

WANTED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.npz")


def weights_folder(model: str, revision: str | None, *, refuse_pickles: bool = True) -> Path:
    """The folder with the files of `model` at `revision`.

    Args:
        model: `embedded:NAME`, a local directory, or a hub id, which needs a revision.
        refuse_pickles: raise when a local directory also holds pickled weights, which some libraries would prefer.

    Raises:
        ArtifactError: no safetensors in the folder, pickled weights beside them, or the hub cannot be reached and the
            commit is not in its cache.
        ConfigError: see `require_pinned`.
    """
    require_pinned(model, revision)
    source = resolve_model(model)
    folder = Path(source) if Path(source).is_dir() else _download(model, revision)
    if not any(folder.rglob("*.safetensors")):
        raise ArtifactError(
            f"model {model}: {folder} holds no safetensors",
            expected="weights as .safetensors; pickled weights can run code and are not read",
            remedy="convert them, or name a model or revision that has them",
        )
    if refuse_pickles and (pickles := sorted(path.name for kind in PICKLES for path in folder.rglob(kind))):
        raise ArtifactError(
            f"model {model}: {folder} holds {', '.join(pickles[:4])} beside its safetensors",
            expected="safetensors only, because the library would choose between them",
            remedy="move the other files out of the directory",
        )
    return folder


def _download(model: str, revision: str | None) -> Path:
    import huggingface_hub

    try:
        return Path(huggingface_hub.snapshot_download(model, revision=revision, allow_patterns=list(WANTED)))
    except Exception as error:  # the hub's client raises a dozen kinds, some of them the transport's own
        raise ArtifactError(
            f"model {model} at {revision} could not be had from the hub: {type(error).__name__}: {error}",
            expected="a repository and commit that exist, and a network or a filled cache",
            remedy="check both names, or give the path of a local directory",
        ) from error
