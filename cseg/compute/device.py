"""The one place that chooses where to compute."""

import os
import platform
import resource
import sys

import numpy as np
import torch
from torch import Tensor

from cseg.errors import ConfigError, TrainingError, reason
from cseg.losses.gather import world_size

FREE_MIB = 512  # that a GPU must have free; the smallest training takes more


def has_gpu() -> bool:
    """Whether torch sees a GPU that this process may use."""
    return torch.cuda.is_available()


def open_device(device: str, threads: int, *, deterministic: bool = False) -> torch.device:
    """Choose the device, set the thread count of this process and begin to measure peak memory.

    `device` is auto (a GPU where there is one), cpu or cuda; `deterministic` makes a GPU, too, give
    the same bits each time, at a cost in speed.

    Float32 is that of PyTorch's defaults: on a GPU, convolutions may round what they multiply to
    TF32 (10 binary digits, sums in float32), and matrix products do not.

    Raises:
        ConfigError: cuda asked for where there is none, more GPUs than there are, an unknown name.
        TrainingError: other processes fill the GPU.
    """
    torch.set_num_threads(threads)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"config key device is {device!r}; use auto, cpu or cuda")
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = False
    if device == "cuda" and not has_gpu():
        raise ConfigError("config key device is cuda but torch sees no GPU here; use auto or cpu")
    if device == "cpu" or not has_gpu():
        return torch.device("cpu")
    if world_size() == 1:
        return _with_memory(torch.device("cuda"))
    local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local >= gpus:
        raise ConfigError(f"resource gpu asks for more than the {gpus} GPUs here; lower it")
    return _with_memory(torch.device("cuda", local))


def _with_memory(device: torch.device) -> torch.device:
    """The GPU, if other processes leave room to begin on it."""
    remedy = "see nvidia-smi, or set CUDA_VISIBLE_DEVICES to other GPUs"
    try:
        free, total = torch.cuda.mem_get_info(device)
    except RuntimeError as error:  # no room for CUDA itself
        raise TrainingError(f"GPU {device} cannot be used: {reason(error)}; {remedy}") from error
    if free < FREE_MIB * 2**20:
        raise TrainingError(
            f"other processes fill GPU {device}: {free / 2**20:.0f} of {total / 2**20:.0f} MiB are "
            f"free; {remedy}"
        )
    torch.cuda.reset_peak_memory_stats(device)
    return device


def to_device(values: np.ndarray, device: torch.device) -> Tensor:
    """Copy numbers drawn on the host to the device without waiting for it."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def device_name(device: torch.device) -> str:
    """What the device is called: the GPU's name, or the processor's architecture."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu {platform.machine()}"


def gpu_memory(setting: str) -> float:
    """Memory in MiB of the GPU that the config key device chooses; 0 if it chooses a CPU."""
    if setting == "cpu" or not has_gpu():
        return 0.0
    return torch.cuda.get_device_properties("cuda").total_memory / 2**20


def peak_memory(device: torch.device) -> float:
    """Peak memory in MiB: of a GPU's allocator since `open_device`; of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
