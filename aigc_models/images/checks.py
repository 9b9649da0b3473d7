"""The checks that a generated picture must pass. Does not need torch, since jobs' settings have
them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    num_candidates: int = 8
    reject_odd: bool = True
    reject_copies: bool = True
    reject_misread: bool = True

    def __post_init__(self) -> None:
        if self.num_candidates < 1:
            raise ValueError("num_candidates must be at least 1")
