"""TRL's RewardTrainer with what it lacks: rows that weigh, and labels that are not certain.

Where every row has weight 1 and p_chosen 1, its figures are those of TRL's own. It imports TRL as
it is loaded, so it is imported where a training begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import logsigmoid
from trl import RewardTrainer
from trl.trainer.reward_trainer import DataCollatorForPreference

ROW_COLUMNS = ("weight", "p_chosen")


@dataclass
class PreferenceCollator(DataCollatorForPreference):
    """TRL's batches of pairs, with the `weight` and `p_chosen` of each pair: (batch,)."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = super().torch_call(examples)
        for name in ROW_COLUMNS:
            batch[name] = torch.tensor([row[name] for row in examples], dtype=torch.float)
        return batch


class PreferenceTrainer(RewardTrainer):
    """Trains on the loss of `annotators.label_reading`, averaged over the rows of a batch, so that
    a row of weight 0 counts as one that teaches nothing and not as one that is not there."""

    def _set_signature_columns_if_needed(self) -> None:
        # What is not listed here never reaches the collator.
        super()._set_signature_columns_if_needed()
        missing = [name for name in ROW_COLUMNS if name not in self._signature_columns]
        self._signature_columns += missing

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        weight, p_chosen = (inputs.pop(name) for name in ROW_COLUMNS)
        # TRL's own loss is left; its outputs and its records of the batch are what is wanted
        _, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        chosen, rejected = torch.chunk(outputs.logits.squeeze(-1), chunks=2)
        apart, margin = chosen - rejected, inputs["margin"]
        won, lost = logsigmoid(apart - margin), logsigmoid(-apart - margin)
        loss = -(weight * (p_chosen * won + (1 - p_chosen) * lost)).mean()
        if not self.model.training:
            self._record_each(chosen > rejected)
        return (loss, outputs) if return_outputs else loss

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """No card: TRL's knows nothing of the data, and asks the Hub."""

    def _record_each(self, right: torch.Tensor) -> None:
        """TRL averages the accuracies of batches, of which the last may be smaller; what chooses a
        checkpoint is the mean over pairs."""
        each = self.accelerator.gather_for_metrics(right.float()).tolist()
        self._metrics["eval"]["accuracy"][-1:] = each
