"""Which facts of an act the text has yet to state, and how that steers the network.

The facts stated so far are known at every step: slots are tokens of both act and text, and most
other values have marker words that give them away.

This is the hard form of the reading gate of SC-LSTM (Wen et al. 2015, eq. 9-11): a fact leaves the
remaining act when the text states it. The network reads the remaining act as an input, and a few
learned scalars raise the logits of slots still to come, lower those of slots already stated, and
hold back the end while a fact is missing. With it, a network of this size states every fact once
after seconds of training.

B batch, P prefix, T text, E width, V vocabulary.
"""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn


class Coverage(nn.Module):
    def __init__(self, vocab_size: int, width: int, pad_id: int, end_id: int) -> None:
        super().__init__()
        self.pad_id = pad_id
        self.end_id = end_id
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
        """`facts` maps tokens of acts and of texts to the number, from 1, of the fact that they
        state; `slots` are the tokens of values repeated verbatim."""
        self.fact_of_V.zero_()
        self.is_slot_V.zero_()
        for token, fact in facts.items():
            self.fact_of_V[token] = fact
        self.is_slot_V[list(slots)] = True

    def remaining(self, prefix_BP: Tensor, text_BT: Tensor) -> Tensor:
        """[B, T+1, P]: which positions of the act the text has not stated before each step."""
        stated_BTP = self.stated_by(prefix_BP, text_BT).cumsum(1) > 0
        visible_B1P = (prefix_BP != self.pad_id)[:, None, :]
        return torch.cat([visible_B1P, visible_B1P & ~stated_BTP], dim=1)

    def stated_by(self, prefix_BP: Tensor, text_BT: Tensor) -> Tensor:
        """[B, T, P]: whether a token of the text states the fact at a position of the act."""
        facts_BT1 = self.fact_of_V[text_BT][:, :, None]
        facts_B1P = self.fact_of_V[prefix_BP][:, None, :]
        return (facts_BT1 == facts_B1P) & (facts_BT1 > 0)

    def summary(self, act_BPE: Tensor, remaining_BTP: Tensor) -> Tensor:
        """[B, T, E]: the mean embedding of what remains, projected."""
        weights_BTP = remaining_BTP.to(act_BPE.dtype)
        mean_BTE = weights_BTP @ act_BPE / weights_BTP.sum(-1, keepdim=True).clamp(min=1.0)
        projected_BTE: Tensor = self.project(mean_BTE)
        return projected_BTE

    def adjust(self, logits_BTV: Tensor, prefix_BP: Tensor, remaining_BTP: Tensor) -> Tensor:
        """Changes the logits in place, and returns them."""
        is_slot_B1P = self.is_slot_V[prefix_BP][:, None, :]
        bias_BTP = torch.where(remaining_BTP, self.unstated, self.stated) * is_slot_B1P
        tokens_BTP = prefix_BP[:, None, :].expand_as(bias_BTP)
        logits_BTV.scatter_add_(2, tokens_BTP, bias_BTP.to(logits_BTV.dtype))
        is_fact_B1P = (self.fact_of_V[prefix_BP] > 0)[:, None, :]
        num_missing_BT = (remaining_BTP & is_fact_B1P).sum(-1)
        logits_BTV[:, :, self.end_id] += (self.end * num_missing_BT).to(logits_BTV.dtype)
        return logits_BTV
