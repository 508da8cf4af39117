"""AdamW for networks with large product tables, of which a batch touches few rows."""

from __future__ import annotations

from collections.abc import Iterable

import torch


class TableAdamW:
    """AdamW (Loshchilov and Hutter 2019); a parameter with a sparse gradient is updated in the touched rows alone.

    The moments, step and decay of a row stand still while nothing touches it, as in torch's SparseAdam, which has no
    decay. A dense update reads and writes the gradient, two moments and weights of a table of 50,000 products whole,
    for the sake of a few thousand rows.
    """

    def __init__(
        self, parameters: Iterable[torch.nn.Parameter], rate: float, table_rate: float, decay: float, norm: float
    ) -> None:
        """`rate` is the peak for dense parameters, `table_rate` for touched rows; `decay` is for matrices only. Dense
        gradients are scaled down to the global L2 norm `norm`; Adam's own division already bounds what a row moves.
        """
        every = list(parameters)
        tables = {id(p) for p in every if getattr(p, "is_table", False)}
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
                self._update_rows(table, table.grad.coalesce(), *moments, rate=self._table_rate * share)

    def _update_rows(
        self, table: torch.Tensor, grad: torch.Tensor, first: torch.Tensor, second: torch.Tensor, rate: float,
        beta: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8,
    ) -> None:  # fmt: skip
        rows, values = grad.indices()[0], grad.values()
        mean = first.index_select(0, rows).lerp_(values, 1 - beta[0])
        square = second.index_select(0, rows).mul_(beta[1]).addcmul_(values, values, value=1 - beta[1])
        first.index_copy_(0, rows, mean)
        second.index_copy_(0, rows, square)
        root = square.div_(1 - beta[1] ** self._steps).sqrt_().add_(epsilon)
        moved = table.index_select(0, rows).mul_(1 - rate * self._decay)
        table.index_copy_(0, rows, moved.addcdiv_(mean, root, value=-rate / (1 - beta[0] ** self._steps)))


def table(rows: int, width: int, std: float) -> torch.nn.Embedding:
    """An embedding whose gradient holds only the rows that were read; normal with `std`."""
    found = torch.nn.Embedding(rows, width, sparse=True)
    torch.nn.init.normal_(found.weight, std=std)
    found.weight.is_table = True  # type: ignore[attr-defined]
    return found
