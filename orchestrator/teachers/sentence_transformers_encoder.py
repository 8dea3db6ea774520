"""A frozen sentence encoder from sentence-transformers (MPNet and others): texts only.

Reads weights from a sentence-transformers folder or a hub repository. Knows nothing of Ray or of the store.
"""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from orchestrator.teachers.encoder import PretrainedSettings, TextEncoder
from orchestrator.teachers.snapshot import weights_folder

if TYPE_CHECKING:
    import torch


class SentenceTransformersSettings(PretrainedSettings):
    """A `SentenceTransformer`, pooled as its own modules say (VLM-KD's alternative: all-mpnet-base-v2, the mean)."""

    kind: Literal["sentence_transformers"] = "sentence_transformers"
    model: str = Field(description="a sentence-transformers directory or a hub id")
    prompt: str = Field(default="", description="put before every text, where a model was trained with one")

    def identity(self) -> dict[str, Any]:
        """Everything that determines the rows; the pooling is in the files that the weights' digest covers."""
        libraries = self._identity("sentence-transformers", "transformers")
        return {"kind": self.kind, **libraries, "prompt": self.prompt}

    def build_text(self) -> TextEncoder:
        """Texts -> unit embeddings [n, e], float32. Longer texts are cut at the model's maximal length."""
        import torch
        from sentence_transformers import SentenceTransformer

        from orchestrator.teachers.torch_encoders import TorchTextEncoder, default_device

        model = SentenceTransformer(
            str(weights_folder(self.model, self.revision)),
            device=str(default_device()),
            local_files_only=True,
            model_kwargs={"dtype": getattr(torch, self.dtype), "use_safetensors": True},
        )
        prompt = self.prompt

        def embed(texts: list[str]) -> "torch.Tensor":
            options: dict[str, Any] = {"convert_to_tensor": True, "show_progress_bar": False}
            return model.encode(texts, prompt=prompt, batch_size=max(1, len(texts)), **options)

        def count(texts: list[str]) -> list[int]:
            return [len(ids) for ids in model.tokenizer([prompt + text for text in texts], verbose=False)["input_ids"]]

        return TorchTextEncoder(embed, count, model.max_seq_length)
