"""How many candidates of a text are drawn, and how. Does not import torch: jobs have `Sampling`
among their settings."""

from dataclasses import dataclass

GREEDY = -1
"""Number of the candidate that always takes the most likely token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How candidates are drawn; the best one is kept."""

    num_candidates: int = 10
    """Sampled candidates of each row."""
    temperature: float = 0.5
    greedy: bool = True
    """Adds a candidate that takes the most likely token at each step."""
    max_tokens: int = 80

    def __post_init__(self) -> None:
        if self.num_candidates < 0 or self.num_candidates + self.greedy < 1:
            raise ValueError(
                f"at least one candidate is needed, num_candidates is {self.num_candidates}"
            )
        if not 0.0 < self.temperature <= 10.0:
            raise ValueError(f"temperature must be in (0, 10], not {self.temperature}")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, not {self.max_tokens}")

    @property
    def candidates(self) -> list[int]:
        """The numbers of the candidates, from which their seeds are derived."""
        sampled = list(range(self.num_candidates))
        return [GREEDY, *sampled] if self.greedy else sampled
