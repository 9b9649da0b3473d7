"""What of the act is still to be said: known at every step, since slots are tokens of the text and
of the act alike, and most other values have words that give them away.

The hard form of the reading gate of SC-LSTM (Wen et al. 2015, eq. 9-11): a slot leaves the
remaining act when the text states it. The network gets the remaining act as an input, and a few
learned scalars lift the logits of slots to come, lower those of slots already stated, and hold back
the end while something is missing. It is what lets a network of this size state every fact once
after seconds of training.

B batch, P prefix, T text, E width, V vocabulary.
"""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn


class Coverage(nn.Module):
    def __init__(self, vocab_size: int, width: int, pad_id: int, end_id: int) -> None:
        super().__init__()
        self.pad_id, self.end_id = pad_id, end_id
        self.project = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.project.weight)
        self.unstated = nn.Parameter(torch.tensor([1.0]))
        self.stated = nn.Parameter(torch.tensor([-3.0]))
        self.end = nn.Parameter(torch.tensor([-1.0]))
        self.fact_of_V: Tensor
        self.is_slot_V: Tensor
        self.register_buffer("fact_of_V", torch.zeros(vocab_size, dtype=torch.int64))
        self.register_buffer("is_slot_V", torch.zeros(vocab_size, dtype=torch.bool))

    def set_facts(self, facts: Mapping[int, int], slots: Collection[int]) -> None:
        """The fact, numbered from 1, that a token stands for in the act or in the text; `slots` are
        copied verbatim."""
        self.fact_of_V.zero_()
        self.is_slot_V.zero_()
        for token, fact in facts.items():
            self.fact_of_V[token] = fact
        self.is_slot_V[list(slots)] = True

    def remaining(self, prefix_BP: Tensor, text_BT: Tensor) -> Tensor:
        """[B, T+1, P]: which positions of the act are not stated in the text before each step."""
        said_BTP = self.says(prefix_BP, text_BT).cumsum(1) > 0
        visible_B1P = (prefix_BP != self.pad_id)[:, None, :]
        return torch.cat([visible_B1P, visible_B1P & ~said_BTP], dim=1)

    def says(self, prefix_BP: Tensor, text_BT: Tensor) -> Tensor:
        facts_BT1, facts_B1P = (
            self.fact_of_V[text_BT][:, :, None],
            self.fact_of_V[prefix_BP][:, None, :],
        )
        return (facts_BT1 == facts_B1P) & (facts_BT1 > 0)

    def summary(self, act_BPE: Tensor, remaining_BTP: Tensor) -> Tensor:
        """The mean embedding of what remains, projected."""
        weights_BTP = remaining_BTP.to(act_BPE.dtype)
        mean_BTE = weights_BTP @ act_BPE / weights_BTP.sum(-1, keepdim=True).clamp(min=1.0)
        projected_BTE: Tensor = self.project(mean_BTE)
        return projected_BTE

    def adjust(self, logits_BTV: Tensor, prefix_BP: Tensor, remaining_BTP: Tensor) -> Tensor:
        """Changes the logits in place, and returns them."""
        is_slot_B1P = self.is_slot_V[prefix_BP][:, None, :]
        bias_BTP = torch.where(remaining_BTP, self.unstated, self.stated) * is_slot_B1P
        logits_BTV.scatter_add_(
            2, prefix_BP[:, None, :].expand_as(bias_BTP), bias_BTP.to(logits_BTV.dtype)
        )
        num_missing_BT = (remaining_BTP & (self.fact_of_V[prefix_BP] > 0)[:, None, :]).sum(-1)
        logits_BTV[:, :, self.end_id] += (self.end * num_missing_BT).to(logits_BTV.dtype)
        return logits_BTV
