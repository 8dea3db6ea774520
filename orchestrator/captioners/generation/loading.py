"""Model, processor and tokenizer from a directory or a hub id, and the refusals of what cannot caption.

Reads weight files (safetensors only). Knows nothing of prompts.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.errors import ConfigError
from orchestrator.teachers.weights import resolve_model

if TYPE_CHECKING:
    from orchestrator.captioners.transformers_vlm import TransformersCaptionerSettings

Kind = Literal["image", "text"]


class Weights:
    """Where a captioner's files are, and how they are opened.

    Attributes:
        model_type: the architecture's name in `config.json`.
        kind: `image` for what `AutoModelForImageTextToText` loads, `text` for what only `AutoModelForCausalLM` does.
    """

    def __init__(self, settings: "TransformersCaptionerSettings") -> None:
        """Read the configuration.

        Raises:
            ConfigError: unreadable or unknown configuration, or weights that are not safetensors.
        """
        from transformers import AutoConfig

        self.name = settings.model
        self._settings = settings
        self._source = resolve_model(settings.model)
        self._options = {"revision": settings.revision, "trust_remote_code": settings.trust_remote_code}
        try:
            config = AutoConfig.from_pretrained(self._source, **self._options)
        except (OSError, ValueError) as error:
            raise self._unreadable(
                "configuration", "config.json of an architecture that transformers has", error
            ) from error
        self.model_type = str(config.model_type)
        self.kind = self._kind(config)
        if Path(self._source).is_dir() and not any(Path(self._source).glob("*.safetensors")):
            raise ConfigError(
                f"model {self.name}: {self._source} holds no *.safetensors",
                expected="weights as safetensors: other formats can run code when they are read",
                remedy="save them again with model.save_pretrained(folder), which writes safetensors",
            )

    def _kind(self, config: Any) -> Kind:
        from transformers.models.auto import modeling_auto

        remote = getattr(config, "auto_map", None) or {} if self._settings.trust_remote_code else {}
        known: tuple[tuple[Kind, str, dict[str, Any]], ...] = (
            ("image", "AutoModelForImageTextToText", modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES),
            ("text", "AutoModelForCausalLM", modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
        )
        for kind, auto_class, names in known:
            if self.model_type in names or auto_class in remote:
                return kind
        raise ConfigError(
            f"model {self.name}: a {self.model_type} writes no text",
            expected="what AutoModelForImageTextToText or AutoModelForCausalLM loads",
            remedy="name a vision-language model, or a language model for texts without images",
        )

    def load_model(self) -> Any:
        """The model in evaluation mode: on the GPU if there is one, or spread as `device_map` says.

        Raises:
            ConfigError: settings that the model cannot have, or weights that lack some of its tensors.
        """
        import torch
        from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

        settings = self._settings
        loader = AutoModelForImageTextToText if self.kind == "image" else AutoModelForCausalLM
        spread = {} if settings.device_map is None else {"device_map": settings.device_map}
        try:
            model, loading = loader.from_pretrained(
                self._source,
                dtype=getattr(torch, settings.dtype),
                attn_implementation=settings.attention,
                use_safetensors=True,
                output_loading_info=True,
                **spread,
                **self._options,
            )
        except OSError as error:
            raise self._unreadable("weights", "*.safetensors", error) from error
        except (ValueError, ImportError) as error:
            raise ConfigError(
                f"model {self.name}: {error}",
                expected=f"a {self.model_type} that loads with attention: {settings.attention}, "
                f"device_map: {settings.device_map}",
                remedy="try attention: eager; a device_map needs the package accelerate",
            ) from error
        if missing := sorted(loading["missing_keys"]):
            raise ConfigError(
                f"model {self.name}: its files lack {len(missing)} tensors of the model, as {missing[0]}",
                expected="weights of this very architecture: the rest would be random numbers",
                remedy="name a directory that was saved from a captioning model",
            )
        if settings.device_map is None:
            model = model.to("cuda" if torch.cuda.is_available() else "cpu")
        return model.eval()

    def load_processor(self) -> Any:
        """The processor of images and texts, its tokenizer padding on the left.

        Raises:
            ConfigError: files of it are missing; of some, transformers would make a tokenizer alone.
        """
        from transformers import AutoProcessor

        files = "preprocessor_config.json or processor_config.json, and the tokenizer's files"
        try:
            processor = AutoProcessor.from_pretrained(self._source, **self._options)
        except (OSError, ValueError) as error:
            raise self._unreadable("processor", files, error) from error
        if not hasattr(processor, "image_processor"):
            raise self._unreadable("processor", files, ValueError("no image processor is configured"))
        _pad_left(processor.tokenizer)
        return processor

    def load_tokenizer(self) -> Any:
        """The tokenizer of a language model, padding on the left."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self._source, **self._options)
        _pad_left(tokenizer)
        return tokenizer

    def _unreadable(self, what: str, files: str, error: Exception) -> ConfigError:
        return ConfigError(
            f"model {self.name}: its {what} cannot be read: {str(error).strip().splitlines()[0]}",
            expected=f"a transformers directory or hub id with {files}",
            remedy="check path and revision; trust_remote_code: true only for code that you have read",
        )

    def need_chat_template(self, holder: Any) -> None:
        """Refuse a processor or tokenizer without a chat template."""
        if holder.chat_template is None:
            raise ConfigError(
                f"model {self.name}: it has no chat template, and prompt_format is chat",
                expected="chat_template.jinja beside the weights, or a chat_template in the tokenizer's configuration",
                remedy="add the template that the model was trained with (BLIP and BLIP-2: prompt_format: text_prefix)",
            )

    def cannot_see(self) -> ConfigError:
        """The refusal of images by a language model."""
        return ConfigError(
            f"model {self.name}: a {self.model_type} reads no images",
            expected="a vision-language model for prompts about images",
            remedy="name one; use this model for texts without images",
        )


def _pad_left(tokenizer: Any) -> None:
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # masked everywhere, so any token will do
