"""One of two processes that train a model on their halves of each batch: rank, file to meet at, balancer, output."""

import sys

import torch
from torch import nn

import mtrl.balancers


def train(rank: int, num_ranks: int, name: str, group: object = None) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 5)).double()
    heads = nn.ModuleList(nn.Linear(5, 1) for _ in range(3)).double()
    model: nn.Module = nn.ModuleDict({"trunk": trunk, "heads": heads})
    call = trunk
    if num_ranks > 1:
        call = nn.parallel.DistributedDataParallel(trunk)
    balancer = mtrl.balancers.available()[name]()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(5):
        batch = torch.randn(16, 4, dtype=torch.float64)
        features = call(batch.chunk(num_ranks)[rank])
        losses = [(head(features) - i).square().mean() for i, head in enumerate(heads)]
        optimizer.zero_grad()
        mtrl.balancers.backward(losses, trunk, balancer, list(heads), features, group=group)
        optimizer.step()
    return {name: value.clone() for name, value in model.state_dict().items()}


if __name__ == "__main__":
    rank, meeting, name, output = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    try:
        train(rank, 2, name)
    except ValueError as error:
        refusal = str(error)
    state = train(rank, 2, name, torch.distributed.group.WORLD)
    torch.save({"refusal": refusal, "state": state}, output)
    torch.distributed.destroy_process_group()
