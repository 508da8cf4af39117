"""Settings that every transformer has, whoever wrote its blocks."""

from __future__ import annotations

from dataclasses import dataclass

from models.training import TrainingConfig


@dataclass(frozen=True)
class BlockConfig(TrainingConfig):
    """Size of a transformer."""

    width: int = 64
    """d, the length of a product vector and of the hidden state."""
    layers: int = 2
    """Transformer blocks."""
    heads: int = 2
    """Attention heads; must divide width."""
    dropout: float = 0.2
    """Share zeroed while training, of the input vectors and of each block's two outputs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "layers", "heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads} must divide width {self.width}; try 1, 2 or 4")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout} must be at least 0 and below 1")
