"""A trained text model: takes requests and row seeds, returns checked texts. All that jobs
need to know of a text model, of any family."""

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
    """The best candidate of a row."""

    text: str
    log_probability: float
    """Natural logarithm, the end included, under the model at temperature 1."""
    problems: tuple[str, ...]
    """Why the text is not faithful to its request; empty if it is."""
    num_candidates: int
    num_faithful: int


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate with its delexicalised text and its problems."""

    candidate: Candidate
    text: Segments
    problems: tuple[str, ...]

    @property
    def rank(self) -> tuple[int, float]:
        """Lower is better: few problems, then a high mean log-probability. A sum would prefer short
        texts, which cost 0.9 BLEU points on held-out acts."""
        return len(self.problems), -self.candidate.mean_log_probability


class TextModel:
    """A network, its tokenizer, and what its corpus taught about acts and facts."""

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
        """Reads a checkpoint folder. Raises `CheckpointError`, which names what is missing or
        unreadable."""
        checkpoint = read_checkpoint(folder)
        config, tensors = checkpoint.config, checkpoint.tensors
        try:
            schema = Schema.from_json(config["schema"])
            network = build_network(config["family"], config["network"])
            weights = {
                name.removeprefix("network."): tensor
                for name, tensor in tensors.items()
                if name.startswith("network.")
            }
            network.load_state_dict(weights)
            network.to(device).eval()
            checker = FactChecker.from_parts(config["facts"], tensors)
            tokenizer = TextTokenizer.load(checkpoint.tokenizer_path)
            return cls(network, tokenizer, schema, checker, config["is_tokenised"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{folder}: not a text-model checkpoint: {error}") from error

    def generate(
        self, requests: Sequence[TextRequest], row_seeds: Sequence[int], sampling: Sampling
    ) -> list[GeneratedText]:
        """One text per request. Equal calls give equal texts. A row's text does not depend on the
        other rows, except through the last bits of a matrix product."""
        if len(requests) != len(row_seeds):
            raise ValueError(f"{len(requests)} requests but {len(row_seeds)} row seeds")
        acts = [self.schema.act(request) for request in requests]
        # Similar lengths need little padding, and equal acts of a batch share a pass.
        order = sorted(range(len(acts)), key=lambda i: (len(acts[i].symbols), acts[i].symbols, i))
        batch_size = max(1, BATCH_SEQUENCES // len(sampling.candidates))
        texts: dict[int, GeneratedText] = {}
        for first in range(0, len(order), batch_size):
            batch = order[first : first + batch_size]
            candidates = self.candidates(
                [acts[i] for i in batch], [row_seeds[i] for i in batch], sampling
            )
            for i, row in zip(batch, candidates, strict=True):
                texts[i] = self.select_best(acts[i], row)
        return [texts[i] for i in range(len(requests))]

    def candidates(
        self, acts: Sequence[Act], row_seeds: Sequence[int], sampling: Sampling
    ) -> list[list[Candidate]]:
        """The candidates of each act."""
        device = next(self.network.parameters()).device
        prefixes = [self.tokenizer.prefix(act) for act in acts]
        prefix_BP = left_padded(prefixes, self.tokenizer.pad_id).to(device)
        allowed_BV = self.allowed(acts).to(device)
        end_id = self.tokenizer.eos_id
        return decode(self.network, prefix_BP, allowed_BV, row_seeds, sampling, end_id)

    def allowed(self, acts: Sequence[Act]) -> Tensor:
        """[B, V]: the tokens that a text of each act may have: literal ones, the end, and the act's
        slots."""
        literal_V = torch.ones(self.tokenizer.vocab_size, dtype=torch.bool)
        literal_V[list(self.tokenizer.symbol_ids)] = False
        literal_V[self.tokenizer.eos_id] = True
        allowed_BV = literal_V.repeat(len(acts), 1)
        for row, act in enumerate(acts):
            slot_ids = [i for slot, _ in act.slots for i in self.tokenizer.slot_ids(slot)]
            allowed_BV[row, slot_ids] = True
        return allowed_BV

    def select_best(self, act: Act, candidates: Sequence[Candidate]) -> GeneratedText:
        judged = self.judge(act, candidates)
        best = min(judged, key=lambda each: each.rank)
        faithful = {each.candidate.tokens for each in judged if not each.problems}
        return GeneratedText(
            text=self.written(act, best.text),
            log_probability=best.candidate.log_probability,
            problems=best.problems,
            num_candidates=len(candidates),
            num_faithful=sum(candidate.tokens in faithful for candidate in candidates),
        )

    def judge(self, act: Act, candidates: Sequence[Candidate]) -> list[Judged]:
        """Each different candidate with its problems."""
        unique = list({candidate.tokens: candidate for candidate in candidates}.values())
        texts = [self.tokenizer.decode(candidate.tokens) for candidate in unique]
        judged = []
        found = self.checker.check(act, texts)
        for candidate, text, problems in zip(unique, texts, found, strict=True):
            unfinished = () if candidate.is_finished else ("the text does not end",)
            judged.append(Judged(candidate, text, (*problems, *unfinished)))
        return judged

    def written(self, act: Act, text: Segments) -> str:
        """The text with its values, in written form."""
        filled = lexicalise(text, dict(act.slots))
        return write_out(filled) if self.is_tokenised else filled.strip()


def left_padded(rows: Sequence[Sequence[int]], pad_id: int) -> Tensor:
    """One int64 tensor of rows of different lengths."""
    width = max(len(row) for row in rows)
    padded = [[pad_id] * (width - len(row)) + list(row) for row in rows]
    return torch.tensor(padded, dtype=torch.int64)
