"""A trained text model: requests and row seeds in, checked texts out. What jobs know of a text
family."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from aigc_models.checkpoint import CheckpointError, read_checkpoint
from aigc_models.text.decoding import Candidate, decode
from aigc_models.text.families import TextNetwork, build_network
from aigc_models.text.language.acts import Attributes, Segments, TextExample, TextRequest
from aigc_models.text.language.delexicalisation import lexicalise
from aigc_models.text.language.facts import FactChecker
from aigc_models.text.language.schema import Act, Schema
from aigc_models.text.language.written_form import write_out
from aigc_models.text.sampling import Sampling
from aigc_models.text.tokenizer import TextTokenizer

__all__ = ["Attributes", "GeneratedText", "Sampling", "TextExample", "TextModel", "TextRequest"]

BATCH_SEQUENCES = 2048
"""Candidates decoded at once."""


@dataclass(frozen=True, slots=True)
class GeneratedText:
    """The best candidate of a row: fewest problems first, then the likeliest by the mean over its
    tokens (a sum over them prefers short texts, which cost 0.9 BLEU points on held-out acts)."""

    text: str
    log_probability: float
    """Natural logarithm, the end included, under the model at temperature 1."""
    problems: tuple[str, ...]
    """Why the text is not faithful to its request; empty: it is."""
    num_candidates: int
    num_faithful: int


class TextModel:
    """A network, its tokenizer and what its corpus taught about acts and facts."""

    def __init__(
        self,
        network: TextNetwork,
        tokenizer: TextTokenizer,
        schema: Schema,
        checker: FactChecker,
        is_tokenised: bool,
    ) -> None:
        self.network = network
        self.tokenizer = tokenizer
        self.schema = schema
        self.checker = checker
        self.is_tokenised = is_tokenised

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> "TextModel":
        """Reads a checkpoint folder; raises `CheckpointError` naming what is missing or
        unreadable."""
        checkpoint = read_checkpoint(folder)
        config, tensors = checkpoint.config, checkpoint.tensors
        try:
            schema = Schema.from_json(config["schema"])
            network = build_network(config["family"], config["network"])
            network.load_state_dict(
                {
                    name.removeprefix("network."): t
                    for name, t in tensors.items()
                    if name.startswith("network.")
                }
            )
            checker = FactChecker.from_parts(config["facts"], tensors)
            tokenizer = TextTokenizer.load(checkpoint.tokenizer_path)
            return cls(
                network.to(device).eval(), tokenizer, schema, checker, config["is_tokenised"]
            )
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{folder}: this is no checkpoint of a text model: {error}"
            ) from error

    def generate(
        self, requests: Sequence[TextRequest], row_seeds: Sequence[int], sampling: Sampling
    ) -> list[GeneratedText]:
        """One text per request. Equal calls give equal texts; a row's text does not depend on the
        rows beside it, but for the last bits of a matrix product."""
        if len(requests) != len(row_seeds):
            raise ValueError(f"{len(requests)} requests but {len(row_seeds)} row seeds")
        acts = [self.schema.act(request) for request in requests]
        order = sorted(range(len(acts)), key=lambda i: (len(acts[i].symbols), acts[i].symbols, i))
        batch_size = max(1, BATCH_SEQUENCES // len(sampling.candidates))
        texts: dict[int, GeneratedText] = {}
        for first in range(0, len(order), batch_size):
            batch = order[first : first + batch_size]
            candidates = self.candidates(
                [acts[i] for i in batch], [row_seeds[i] for i in batch], sampling
            )
            for i, row in zip(batch, candidates, strict=True):
                texts[i] = self.best(acts[i], row)
        return [texts[i] for i in range(len(requests))]

    def candidates(
        self, acts: Sequence[Act], row_seeds: Sequence[int], sampling: Sampling
    ) -> list[list[Candidate]]:
        device = next(self.network.parameters()).device
        prefix_BP = left_padded(
            [self.tokenizer.prefix(act) for act in acts], self.tokenizer.pad_id
        ).to(device)
        allowed_BV = self.allowed(acts).to(device)
        return decode(
            self.network, prefix_BP, allowed_BV, row_seeds, sampling, self.tokenizer.eos_id
        )

    def allowed(self, acts: Sequence[Act]) -> Tensor:
        """Literal tokens, the end, and the slots of each act."""
        literal_V = torch.ones(self.tokenizer.vocab_size, dtype=torch.bool)
        literal_V[list(self.tokenizer.symbol_ids)] = False
        literal_V[self.tokenizer.eos_id] = True
        allowed_BV = literal_V.repeat(len(acts), 1)
        for row, act in enumerate(acts):
            allowed_BV[row, [i for slot, _ in act.slots for i in self.tokenizer.slot_ids(slot)]] = (
                True
            )
        return allowed_BV

    def best(self, act: Act, candidates: Sequence[Candidate]) -> GeneratedText:
        unique = list({candidate.tokens: candidate for candidate in candidates}.values())
        texts = [self.tokenizer.decode(candidate.tokens) for candidate in unique]
        problems = [
            found if candidate.is_finished else (*found, "the text does not end")
            for candidate, found in zip(unique, self.checker.check(act, texts), strict=True)
        ]
        best = min(
            range(len(unique)), key=lambda i: (len(problems[i]), -unique[i].mean_log_probability)
        )
        faithful = {
            candidate.tokens for candidate, found in zip(unique, problems, strict=True) if not found
        }
        return GeneratedText(
            text=self.written(act, texts[best]),
            log_probability=unique[best].log_probability,
            problems=problems[best],
            num_candidates=len(candidates),
            num_faithful=sum(candidate.tokens in faithful for candidate in candidates),
        )

    def written(self, act: Act, text: Segments) -> str:
        filled = lexicalise(text, dict(act.slots))
        return write_out(filled) if self.is_tokenised else filled.strip()


def left_padded(rows: Sequence[Sequence[int]], pad_id: int) -> Tensor:
    width = max(len(row) for row in rows)
    return torch.tensor(
        [[pad_id] * (width - len(row)) + list(row) for row in rows], dtype=torch.int64
    )
