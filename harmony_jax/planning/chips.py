"""TPUs and GPUs that training runs on, with what their makers publish."""

from typing import NamedTuple


class Chip(NamedTuple):
    """One chip; both TensorCores of a TPU with two, which programs see as one device.

    Attributes:
        kinds: how JAX's `device_kind` begins.
        flops: peak FLOP/s of bfloat16 values.
        float32_flops: of float32 values as accelerators multiply them by default: a TPU rounds them
            to bfloat16, a GPU to TF32.
        memory: bytes of HBM; of a TPU's, those that a program can have.
        bandwidth: bytes/s between HBM and the cores.
        links: bytes/s that a chip can send to others of its slice or host, all links together (and
            receive as many at the same time).
        network: bytes/s that a chip can send to other hosts; 0: hosts are joined by the links.
        dimensions: of the torus or mesh of a TPU slice; 0: a GPU.
    """

    kinds: tuple[str, ...]
    flops: float
    float32_flops: float
    memory: float
    bandwidth: float
    links: float
    network: float = 0.0
    dimensions: int = 0

    def peak(self, dtype: str) -> float:
        """FLOP/s of a model that computes in float32 or bfloat16, at the default precision."""
        return self.flops if dtype == "bfloat16" else self.float32_flops


_GIB = 2**30

# TPUs. Bandwidths and FLOP/s: https://cloud.google.com/tpu/docs/v4, .../v5e, .../v5p and .../v6e,
# "System architecture". The links' is that of one direction, half of the pages' bidirectional one:
# v5e 400 GB/s (and 1600 Gb/s in one), v6e 800 GB/s; v5p 4800 Gb/s in one. The page of v4 gives only
# the all-reduce bandwidth of its 4,096 chips, 1.1 PB/s, which for v5e and v6e is the sum of these.
# Memory: what libtpu 0.0.42 says is available when a program does not fit.
#
# GPUs, on SXM boards of eight: https://www.nvidia.com/en-us/data-center/h100 and .../h200. FLOP/s
# without sparsity are half of the pages' 1,979 and 989 (TF32) TFLOPS. NVLink: 900 GB/s in both
# directions together. Network: one ConnectX-7 of 400 Gb/s for each GPU, as in NVIDIA's DGX H100 and
# H200. Memory: what CUDA reports, of which JAX takes a share (`targets`).
CHIPS = {
    "v4": Chip(("TPU v4",), 275e12, 275e12, 30.75 * _GIB, 1200e9, 1.1e15 / 4096, 0, 3),
    "v5e": Chip(("TPU v5 lite", "TPU v5e"), 197e12, 197e12, 15.75 * _GIB, 819e9, 200e9, 0, 2),
    "v5p": Chip(("TPU v5p", "TPU v5"), 459e12, 459e12, 95.74 * _GIB, 2765e9, 600e9, 0, 3),
    "v6e": Chip(("TPU v6",), 918e12, 918e12, 31.25 * _GIB, 1638e9, 400e9, 0, 2),
    "h100": Chip(("NVIDIA H100 80GB HBM3",), 989.5e12, 494.7e12, 84942979072, 3352e9, 450e9, 50e9),
    "h200": Chip(("NVIDIA H200",), 989.5e12, 494.7e12, 151397597184, 4800e9, 450e9, 50e9),
}


def chip_of(device_kind: str) -> Chip | None:
    """The chip that JAX calls so (`jax.devices()[0].device_kind`), if it is one of these."""
    return next((chip for chip in CHIPS.values() if device_kind.startswith(chip.kinds)), None)
