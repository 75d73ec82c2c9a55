"""Distil with two processes, each with its own batches: the λ are those of one process, bit for bit.

torchrun --nproc_per_node=2 examples/two_processes.py
"""

import torch.distributed as dist

import dode


def main(samples: int = 100, batch: int = 25) -> list[float]:
    """λ of D-DDIM at five evaluations; every process gets them."""
    model = dode.bundled("fashion-mixture")
    made = dode.distill(model, "ddim", nfe=5, samples=samples, batch=batch)  # batch i is the work of process i mod 2
    lambdas: list[float] = made.plan.lambdas.tolist()
    return lambdas


if __name__ == "__main__":
    together = dist.is_torchelastic_launched()
    if together:
        dist.init_process_group("gloo")  # nccl, or both, where there are GPUs
    found = main()
    if not together or dist.get_rank() == 0:  # one of them writes
        print(*found)
    if together:
        dist.destroy_process_group()
