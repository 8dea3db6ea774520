"""A text tower with gradient gives the encoder's own embeddings, with words or with learnt vectors in their place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.errors import ConfigError
from orchestrator.teachers import OpenClipSettings, TransformersClipSettings
from orchestrator.teachers.prompt_learning import LearntClassText, LiveText, first_context
from orchestrator.teachers.text_tower import TextTower, Tokens
from tests import tiny_encoders

NAMES = ["red star.", "blue ring.", "green disc with a tail.", "star."]
KINDS: dict[str, tuple[type[Any], Callable[[Path], None] | None]] = {
    "open_clip": (OpenClipSettings, None),
    "open_clip_vit": (OpenClipSettings, tiny_encoders.open_clip_vit),
    "open_clip_own_text": (OpenClipSettings, tiny_encoders.open_clip_plain),
    "hf_clip": (TransformersClipSettings, tiny_encoders.hf_clip),
    "hf_blip": (TransformersClipSettings, tiny_encoders.hf_blip),
    "hf_blip_retrieval": (TransformersClipSettings, tiny_encoders.hf_blip_retrieval),
}


@pytest.fixture(params=KINDS)
def settings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    kind, make = KINDS[request.param]
    folder = tmp_path_factory.getbasetemp() / "text_towers"
    folder.mkdir(exist_ok=True)
    return kind() if make is None else kind(model=tiny_encoders.made(folder, make))


def words_as_context(tower: TextTower, words: str) -> torch.Tensor:
    """The token embeddings of words as they stand before another word."""
    table: Any = tower._embedding[0]
    ids = tower.tokenize([f"{words} star"]).ids[0]
    return table.weight[ids[1 : 1 + len(words.split())]].detach()


def test_a_text_has_the_encoders_own_embedding(settings: Any) -> None:
    tower = settings.build_text_tower()
    tokens = tower.tokenize(NAMES)
    found = tower(tokens.rows(slice(None), tower.device)).detach()
    torch.testing.assert_close(found, torch.from_numpy(settings.build_text()(NAMES)), rtol=0, atol=1e-6)


def test_a_context_that_equals_real_words_gives_the_embedding_of_the_whole_text(settings: Any) -> None:
    tower, words = settings.build_text_tower(), "the photo of"
    learnt = LearntClassText(tower, NAMES, num_trained=3, context=words_as_context(tower, words))
    whole = torch.from_numpy(settings.build_text()([f"{words} {name}" for name in NAMES]))
    torch.testing.assert_close(learnt().detach(), whole[:3], rtol=0, atol=1e-6)
    torch.testing.assert_close(learnt.of_all_classes(), whole, rtol=0, atol=1e-6)


def test_gradient_reaches_the_context_and_nothing_else_whatever_the_number_of_passes(settings: Any) -> None:
    tower = settings.build_text_tower()
    context = first_context(4, tower.width, std=0.02, seed=1)
    found = []
    for at_once in (None, 1, 3):
        learnt = LearntClassText(tower, NAMES, num_trained=4, context=context, classes_per_pass=at_once)
        (learnt() * torch.linspace(-1, 1, learnt().shape[1])).sum().backward()
        assert learnt.context.grad is not None
        found.append(learnt.context.grad)
        assert dict(learnt.named_parameters()).keys() == {"context"}
        assert learnt.state_dict().keys() == {"context"}
    assert float(found[0].abs().min()) > 0
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found[2], found[0], rtol=1e-3, atol=1e-5)
    assert all(parameter.grad is None for parameter in tower.parameters())


def test_live_texts_are_those_of_the_encoder_and_train_every_weight_that_makes_them(settings: Any) -> None:
    live = LiveText(settings.build_text_tower(), NAMES)
    text_id = torch.tensor([[2, -1], [0, 2], [3, 1]])
    made = live(text_id)
    own = torch.from_numpy(settings.build_text()(NAMES))
    torch.testing.assert_close(made.detach()[1], own[[0, 2]], rtol=0, atol=1e-6)
    assert not made[0, 1].any()
    (made * torch.linspace(-1, 1, made.shape[2])).sum().backward()
    trained = {name: weight for name, weight in live.named_parameters() if weight.requires_grad}
    assert len(trained) > 20
    assert [name for name, weight in trained.items() if weight.grad is None] == []
    assert not [name for name in trained if "vis" in name]


def test_padding_and_the_rest_of_a_batch_change_nothing(settings: Any) -> None:
    tower = settings.build_text_tower()
    tokens = tower.tokenize(NAMES)
    together = tower(tokens)
    for row in range(len(NAMES)):
        alone = tower(Tokens(tokens.ids[row : row + 1], tokens.length[row : row + 1]))
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-6)


def test_a_context_longer_than_the_tower_reads_is_refused(settings: Any) -> None:
    tower = settings.build_text_tower()
    with pytest.raises(ConfigError, match="leaves no room for 64 context vectors"):
        LearntClassText(tower, NAMES, num_trained=4, context=first_context(64, tower.width, std=0.02, seed=0))
