"""Updates weights by AdamW, of large product tables only the rows that a batch touches, and drops out cheaply."""

from __future__ import annotations

from collections.abc import Callable

import torch

BETA, EPSILON = (0.9, 0.999), 1e-8
"""AdamW's defaults: decay of the two moments, and the number that keeps a division from one by zero."""


class TableAdamW:
    """AdamW (Loshchilov and Hutter 2019); a parameter with a sparse gradient is updated in the touched rows alone.

    Moments and weights of a row stay as they are while no batch touches it, as in torch's SparseAdam, which has no
    weight decay. A dense update would read and write the gradient, both moments and the weights of all 50,000 products
    for the sake of a few thousand rows.
    """

    def __init__(self, module: torch.nn.Module, rate: float, table_rate: float, decay: float, norm: float) -> None:
        """`rate` is the peak for dense parameters, `table_rate` for touched rows; `decay` is for matrices only. Dense
        gradients are scaled down to the global L2 norm `norm`; Adam's own division already bounds the step of a row.
        """
        every = list(module.parameters())
        sparse = (part for part in module.modules() if isinstance(part, torch.nn.Embedding) and part.sparse)
        tables = {id(part.weight) for part in sparse}
        self._tables = [p for p in every if id(p) in tables]
        self._dense = [p for p in every if id(p) not in tables]
        groups = [
            {"params": [p for p in self._dense if p.ndim >= 2], "weight_decay": decay},
            {"params": [p for p in self._dense if p.ndim < 2], "weight_decay": 0.0},
        ]
        filled = [group for group in groups if group["params"]]
        self._adam = torch.optim.AdamW(filled, lr=rate, fused=True) if filled else None
        self._moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self._tables]
        self._rate, self._table_rate = rate, table_rate
        self._decay, self._norm, self._steps = decay, norm, 0

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in (*self._dense, *self._tables):
            parameter.grad = None

    @torch.no_grad()
    def step(self, share: float) -> None:
        """One update with `share` of the peak learning rate."""
        self._steps += 1
        if self._adam is not None:
            torch.nn.utils.clip_grad_norm_(self._dense, self._norm)
            for group in self._adam.param_groups:
                group["lr"] = self._rate * share
            self._adam.step()
        for table, moments in zip(self._tables, self._moments, strict=True):
            if table.grad is not None:
                self._update_rows(table, moments, self._table_rate * share)

    def _update_rows(self, table: torch.Tensor, moments: tuple[torch.Tensor, torch.Tensor], rate: float) -> None:
        assert table.grad is not None
        rows, values = touched(table.grad)
        (beta1, beta2), (first, second) = BETA, moments
        mean = first.index_select(0, rows).lerp_(values, 1 - beta1)
        square = second.index_select(0, rows).mul_(beta2).addcmul_(values, values, value=1 - beta2)
        first.index_copy_(0, rows, mean)
        second.index_copy_(0, rows, square)
        root = square.div_(1 - beta2**self._steps).sqrt_().add_(EPSILON)
        moved = table.index_select(0, rows).mul_(1 - rate * self._decay)
        table.index_copy_(0, rows, moved.addcdiv_(mean, root, value=-rate / (1 - beta1**self._steps)))


class KeptWeights:
    """Decides which weights a training ends with: the average of the newest, or of the best round.

    A moving average stands in for a learning rate that falls: the figure after a round is then that of a fit of so many
    passes, and no schedule has to know beforehand how many there are (Izmailov et al. 2018, "Averaging weights leads to
    wider optima and better generalization").
    """

    EVERY = 8
    """Steps from one update of the average to the next: a large shop's tables take as long as a step."""

    def __init__(self, module: torch.nn.Module, averaged: int, patience: int) -> None:
        """Weights `averaged` steps old count 1 / e of the newest, fewer while there are fewer."""
        self._weights = [p.detach() for p in module.parameters()]
        self._average = [p.clone() for p in self._weights]
        self._averaged, self._patience = averaged, patience
        self._best: list[torch.Tensor] = []
        self.steps = 0
        """So far."""
        self.figures: list[float] = []
        """After each round, on held-out days."""

    @property
    def best_round(self) -> int:
        """Number of the round with the best figure, 1 for the first."""
        return self.figures.index(max(self.figures)) + 1

    @torch.no_grad()
    def add_step(self) -> None:
        """Count a step, and take its weights into the average."""
        self.steps += 1
        if self.steps % self.EVERY == 0:
            share = self.EVERY / max(self.EVERY, min(self._averaged, self.steps / 4))
            torch._foreach_lerp_(self._average, self._weights, share)

    @torch.no_grad()
    def is_enough(self, figure: Callable[[], float]) -> bool:
        """Measure the weights that a training would end with now; whether the best round is `patience` rounds old."""
        running = [weight.clone() for weight in self._weights]
        if self.steps >= self.EVERY:
            self._set(self._average)
        self.figures.append(figure())
        if self.best_round == len(self.figures):
            self._best = [weight.clone() for weight in self._weights]
        self._set(running)
        return len(self.figures) - self.best_round >= self._patience

    @torch.no_grad()
    def restore(self) -> None:
        """Give the module the weights of its best round, or where none was measured, the average."""
        if self._best or self.steps >= self.EVERY:
            self._set(self._best or self._average)

    def _set(self, values: list[torch.Tensor]) -> None:
        for weight, value in zip(self._weights, values, strict=True):
            weight.copy_(value)


def touched(grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows [n], gradients [n, D]) of a sparse gradient [V, D]; the same row twice has the same gradient twice."""
    if grad.device.type == "cpu":
        grad = grad.coalesce()
        return grad.indices()[0], grad.values()
    return summed_by_row(grad._indices()[0], grad._values())


def summed_by_row(rows: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows [n], sums [n, D]) of rows [n] in any order and their values [n, D].

    It returns as many rows as it takes, the last one repeated: `coalesce` would ask a GPU how many are left, which
    waits for all its work, in every step of a training.
    """
    rows, order = rows.sort(stable=True)
    opens = torch.ones_like(rows, dtype=torch.bool)
    opens[1:] = rows[1:] != rows[:-1]
    group = opens.cumsum(0) - 1
    sums = torch.zeros_like(values).index_add_(0, group, values.index_select(0, order))
    row_of = torch.zeros_like(rows).scatter_(0, group, rows)
    place = torch.minimum(torch.arange(len(rows), device=rows.device), group[-1])
    return row_of.index_select(0, place), sums.index_select(0, place)


def table(rows: int, width: int, std: float) -> torch.nn.Embedding:
    """An embedding whose gradient holds only the rows that were read; normal with `std`."""
    found = torch.nn.Embedding(rows, width, sparse=True)
    torch.nn.init.normal_(found.weight, std=std)
    return found


class ByteDropout(torch.nn.Module):
    """Dropout whose mask costs one random byte per number: torch's own draw took 13 times as long on a CPU, more than
    most of the layers it follows. The share is rounded to 1/256, and kept numbers are scaled by the rounded share.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.dropped = round(256 * share)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """`values` of any shape, in eval mode as they came."""
        if not self.training or not self.dropped:
            return values
        draws = torch.empty(-(-values.numel() // 8), dtype=torch.int64, device=values.device)
        draws = draws.random_(-(1 << 63), None).view(torch.uint8)[: values.numel()]
        return values * (draws >= self.dropped).view(values.shape) * (256 / (256 - self.dropped))
