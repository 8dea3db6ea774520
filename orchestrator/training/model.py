"""Student, text adaptor and losses as one module: one DDP wrap, one state_dict.

Reads and writes nothing. Knows nothing of data or of drivers.
"""

import copy
from collections.abc import Callable, Mapping, Set

import torch
from torch import Tensor, nn

from orchestrator import distributed
from orchestrator import vocabulary as v
from orchestrator.errors import ConfigError
from orchestrator.losses.formulas.loss import upcast
from orchestrator.losses.objective import SUPPLIED_BY, Objective
from orchestrator.students.networks.student import IMAGE, Student
from orchestrator.training.draws import permutation

MORE_VIEWS = "more_views"  # [N, V - 1, 3, S, S] float32: views 2 and later of the images


class DistillationModel(nn.Module):
    """Student, adaptor (only when a loss reads its output), the student's momentum copy (likewise), and objective.

    Heads whose output no loss takes, directly or through another head, are not trained: they keep their start values.

    Args:
        student: see `Student`.
        adaptor: feature [N, d] -> text prediction [N, e] or [N, Q, e]; dropped after training (VLM-KD, section 2.3).
            None where the student makes the text prediction itself.
        objective: the composed losses.
    """

    def __init__(self, student: Student, adaptor: nn.Module | None, objective: Objective) -> None:
        super().__init__()
        self.student = student
        self.objective = objective
        reads = objective.required_inputs()
        takes = reads | objective.optional_inputs()
        self.adaptor = adaptor if v.TEXT_PREDICTION in reads else None
        self.momentum_student: Student | None = None
        if v.KEY_FEATURE in reads:
            self.momentum_student = copy.deepcopy(student).requires_grad_(False)
        self.key_momentum = objective.key_momentum()
        used = takes | {of for name, of in STACKED.items() if name in takes}
        for output, source in student.made_of().items():  # in this order, so that a chain is followed to its end
            used |= {source} if output in used else set()
        for output, head in student.heads().items():
            if output not in used:
                head.requires_grad_(False)
        self.class_prompt: nn.Module | None = None
        self.live_text: nn.Module | None = None
        self.own_rates: dict[str, float] = {}  # peak learning rate by the beginning of parameters' names
        self.autocast_dtype: torch.dtype | None = None  # of student, heads and learnt texts; None: their own
        self.begins_step = True  # whether the next forward is the first since the optimiser's last step
        self.shuffled_by = (0, 0)  # data seed and number of the micro-batch, the same on all workers
        self._takes = takes
        self._compiled: Callable[..., dict[str, Tensor]] | None = None  # no module, so not twice in the state
        made = student.makes()
        self._stacks = [(of, name) for name, of in STACKED.items() if name in takes and of in made]

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss (scalar) and its detached parts by name.

        The losses compute in float32 or better whatever the precision of what they read.
        """
        device_type, half = batch[self.student.reads[0]].device.type, self.autocast_dtype
        with torch.autocast(device_type, dtype=half, enabled=half is not None):
            inputs = self.inputs(batch)
        total, parts = self.objective({name: upcast(inputs[name]) for name in inputs if name in self._takes})
        with torch.no_grad():
            guess = predicted(self.student, inputs)
            if guess is not None and v.LABEL in inputs:
                parts["accuracy"] = (guess == inputs[v.LABEL]).float().mean()
        return total, parts

    def compile_student(self) -> None:
        """Compile what the student does in training; evaluation and the momentum copy stay as they are."""
        self._compiled = torch.compile(self.student.forward)

    def learn_class_text(self, class_prompt: nn.Module) -> None:
        """Class texts come from this module, () -> [C, D], with gradient into the losses' own."""
        self.class_prompt = class_prompt
        self._let_learn(v.CLASS_TEXT)

    def learn_text(self, live_text: nn.Module, learning_rate: float) -> None:
        """Texts come from this module, [N, Q] ids -> [N, Q, e], with gradient and a learning rate of its own."""
        self.live_text = live_text
        self.own_rates["live_text."] = learning_rate
        self._let_learn(v.TEXT)

    def _let_learn(self, name: str) -> None:
        for _, loss in self.objective.named():
            loss.learnt = loss.learnt | (loss.can_learn & {name})

    def inputs(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The batch with what student, adaptor and momentum copy make of it, and learnt texts in place of kept ones."""
        if self.class_prompt is not None:
            batch = {**batch, v.CLASS_TEXT: self.class_prompt()}
        if self.live_text is not None:
            batch = {**batch, v.TEXT: self.live_text(batch[v.TEXT_ID])}
        inputs = {name: tensor for name, tensor in batch.items() if name not in (IMAGE, MORE_VIEWS)}
        read = [batch[name] for name in self.student.reads]
        more, make = batch.get(MORE_VIEWS), self._compiled or self.student
        if more is None or not self._stacks or self.student.reads != (IMAGE,):
            made = make(*read)
            for of, name in self._stacks:
                inputs[name] = made[of][:, None]
        else:  # one pass over all views, as the official codes do: BatchNorm sees them together
            num_rows, num_views = len(read[0]), 1 + more.shape[1]
            together = torch.cat([read[0], *more.unbind(1)]).contiguous(memory_format=torch.channels_last)
            all_views = make(together)
            made = {name: tensor[:num_rows] for name, tensor in all_views.items()}
            for of, name in self._stacks:
                inputs[name] = all_views[of].unflatten(0, (num_views, num_rows)).transpose(0, 1)
        inputs |= made
        if self.adaptor is not None:
            inputs[v.TEXT_PREDICTION] = self.adaptor(made[v.STUDENT_FEATURE])
        if self.momentum_student is not None and more is not None:
            inputs[v.KEY_FEATURE] = self._keys(more[:, 0])
        return inputs

    @torch.no_grad()
    def _keys(self, images: Tensor) -> Tensor:
        """Features of view 2 by the momentum copy, which first moves towards the student (PaCo; methods 3.2)."""
        assert self.momentum_student is not None
        assert self.key_momentum is not None
        if self.training and self.begins_step:
            for slow, fast in zip(self.momentum_student.parameters(), self.student.parameters(), strict=True):
                slow.lerp_(fast.detach(), 1 - self.key_momentum)
        if self.training and distributed.world_size() > 1:
            return self._keys_of_shuffled(self.momentum_student, images)
        feature: Tensor = self.momentum_student(images)[v.STUDENT_FEATURE]
        return feature

    def _keys_of_shuffled(self, encoder: Student, images: Tensor) -> Tensor:
        """This worker's keys, made by all workers of shuffled shares of the joint batch, and brought back.

        So BatchNorm's statistics of a key are not those of the worker's own anchors (MoCo, PaCo). The order is a
        function of the data seed and the micro-batch, so that a resumed training goes on with the same.
        """
        joint, count = distributed.all_gather(images), len(images)
        order = torch.from_numpy(permutation(len(joint), *self.shuffled_by)).to(images.device)
        own = slice(distributed.rank() * count, (distributed.rank() + 1) * count)
        made = distributed.all_gather(encoder(joint[order[own]])[v.STUDENT_FEATURE])
        return made[order.argsort()[own]]

    def start_epoch(self, epoch: int) -> None:
        """Tell the losses that an epoch begins (0-based)."""
        for loss in self.objective.losses.values():
            loss.start_epoch(epoch)  # type: ignore[operator]

    def after_step(self) -> None:
        """Let losses clamp what they learn (a temperature's scale) after an optimiser step."""
        for loss in self.objective.losses.values():
            loss.after_step()  # type: ignore[operator]


def made_by(model: DistillationModel, *, with_views: bool) -> set[str]:
    """What losses may read of a student besides the batch, by vocabulary name."""
    made = set(model.student.makes())
    if model.adaptor is not None:
        made.add(v.TEXT_PREDICTION)
    if with_views and model.student.reads == (IMAGE,):
        made |= {v.KEY_FEATURE, *(name for name, of in STACKED.items() if of in made)}
    return made


def check_inputs(model: DistillationModel, supplied: Set[str], *, with_views: bool) -> None:
    """Refuse a student or a loss that reads what is not there.

    Args:
        supplied: names of what a batch has besides what the student makes.
        with_views: whether images have more than one view.

    Raises:
        ConfigError: each missing input, who reads it and the setting that supplies it.
    """
    problems = [
        f"student reads {wanted}, supplied by: {SUPPLIED_BY[wanted]}"
        for wanted in model.student.reads
        if wanted != IMAGE and wanted not in supplied
    ]
    try:
        model.objective.check(supplied | made_by(model, with_views=with_views))
    except ConfigError as error:
        problems.append(error.wrong)
    if problems:
        raise ConfigError("; ".join(problems), remedy="set what supplies it, or remove who reads it")


STACKED = {v.VIEW_FEATURE: v.STUDENT_FEATURE, v.VIEW_LOGITS: v.STUDENT_LOGITS}


def predicted(student: Student, inputs: Mapping[str, Tensor]) -> Tensor | None:
    """[N] the class of each image: by the logits, else by cosine to the class texts; None where there is neither."""
    if v.STUDENT_LOGITS in inputs:
        return inputs[v.STUDENT_LOGITS].argmax(1)
    if v.STUDENT_EMBEDDING in inputs and v.CLASS_TEXT in inputs:
        classes = student.class_embeddings(inputs[v.CLASS_TEXT])
        if classes is not None:
            return (inputs[v.STUDENT_EMBEDDING].float() @ classes.float().T).argmax(1)
    return None
