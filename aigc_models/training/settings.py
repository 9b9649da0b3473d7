"""Settings of the training loop, and the progress it reports.

Does not need torch, since flows that plan a training do not have it.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    max_steps: int | None = None
    """None: training ends by the CPU budget only."""
    cpu_budget_s: float | None = 270.0
    """CPU time of all threads of all workers, including earlier attempts. None: training ends by
    `max_steps` only."""
    learning_rate: float = 3e-3
    final_learning_rate_share: float = 0.02
    weight_decay: float = 0.05
    """For matrices; vectors (norms, biases) do not decay (Loshchilov and Hutter 2019)."""
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_steps: int = 60
    """0: no warm-up."""
    max_gradient_norm: float = 1.0
    ema_decay: float = 0.995
    """Decay of the averaged weights, which are validated and kept. 0: keep the last weights."""
    num_validations: int = 12
    samples_every: int = 2
    """Validations from one picture of samples in TensorBoard to the next, for tasks with
    samples."""
    patience: int = 4
    """Validations without a better loss after which training stops."""
    checkpoint_every_s: float = 60.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 autocast on CUDA devices that support it; it slowed down models of this size
    on CPUs."""
    torch_compile: bool = False
    """Compile the network first, for long trainings on GPUs. Takes half a minute of the budget and
    needs a C++ compiler. Not for recurrent networks, whose steps would be unrolled."""
    device: str = "auto"
    """auto: CUDA if available, otherwise the CPU."""
    num_threads: int = 1
    """Per worker."""
    num_workers: int = 1
    """Processes that each compute a share of every batch, on one or several machines. The size of
    the batch does not depend on it."""
    trace_steps: int = 0
    """Steps recorded in a profiler trace beside the event files. 0: no trace."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_steps is None and self.cpu_budget_s is None:
            raise ValueError("one of max_steps and cpu_budget_s must be given")
        for name in (
            "max_steps",
            "cpu_budget_s",
            "learning_rate",
            "num_validations",
            "samples_every",
            "patience",
            "num_threads",
            "num_workers",
        ):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be positive, not {value}")
        for name in ("warmup_steps", "trace_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)}")
        if not 0.0 <= self.ema_decay < 1.0:
            raise ValueError(f"ema_decay must be in [0, 1), not {self.ema_decay}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProgress:
    step: int
    loss: float
    """Of the last step."""
    val_loss: float | None
    """Of the last validation; None before the first one."""
    tokens_per_s: float
    """Tokens, pictures or items of histories, whatever the task counts."""
    elapsed_s: float
    fraction: float
    """The share of the budget that is spent, 0 to 1."""
