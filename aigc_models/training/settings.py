"""What the training loop is told, and what it tells on its way. Needs no torch: whoever plans a
training has none."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    max_steps: int | None = None
    """None: only the CPU budget ends training."""
    cpu_budget_s: float | None = 270.0
    """CPU time of all workers, all their threads together, earlier attempts counted in. None: only
    the steps end it."""
    learning_rate: float = 3e-3
    final_learning_rate_share: float = 0.02
    weight_decay: float = 0.05
    """Of matrices; vectors (norms, biases) do not decay (Loshchilov and Hutter 2019)."""
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_steps: int = 60
    """0: none."""
    max_gradient_norm: float = 1.0
    ema_decay: float = 0.995
    """Of the averaged weights that are validated and kept; 0 keeps the last weights."""
    num_validations: int = 12
    samples_every: int = 2
    """Validations from one picture of samples in TensorBoard to the next, for tasks that have
    one."""
    patience: int = 4
    """Validations without a better loss before training stops."""
    checkpoint_every_s: float = 60.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 autocast on CUDA devices that have it; on CPUs it slowed models of this size
    down."""
    torch_compile: bool = False
    """Whether torch compiles the network first, for long trainings on GPUs: half a minute of the
    budget, and a C++ compiler. Not for recurrent networks, whose steps would be unrolled."""
    device: str = "auto"
    """auto: CUDA where there is one."""
    num_threads: int = 1
    """Of each worker."""
    num_workers: int = 1
    """Processes that each compute a share of every batch, on several machines or one; the batch
    stays as large."""
    trace_steps: int = 0
    """Steps that a profiler trace is recorded of, beside the event files; 0: none."""
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
    """Of the last validation."""
    tokens_per_s: float
    """Of what a batch is counted in: tokens, pictures, or histories' items."""
    elapsed_s: float
    fraction: float
    """Of the budget, 0 to 1."""
