"""A GPU that is not there: shapes, types and devices are followed, nothing is computed on it.

`fake_gpu()` lets the code inside use torch.device("cuda"). Tensors there are fake ones of torch
(FakeTensorMode); tensors on the CPU are real. It records every launch of a Triton kernel instead of
making it, and every time that the host would wait for a real GPU; what a real one would refuse, a
mix of devices above all, raises. A value read from the GPU is 0.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

import cseg
from cseg.losses import lean, pixel_contrast

PACKAGE = str(Path(cseg.__file__).parent)
COPY = re.compile("x_(.*)__mutmut_.*")  # a function's name in tests/mutants.py
CARD = (9, 0)  # compute capability
# What torch answers with the values or the number of some tensor's elements.
WAITS = {
    "_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim",
    "is_nonzero", "repeat_interleave", "bincount",
}  # fmt: skip
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_"}


@dataclass(frozen=True)
class Wait:
    """Something that the host waits for: what, and in which functions of cseg."""

    what: str
    where: tuple[str, ...]


@dataclass(frozen=True)
class Launch:
    """A kernel's name, the dtypes of its pointers and its compile-time options."""

    kernel: str
    dtypes: tuple[torch.dtype, ...]
    options: dict[str, Any]


@dataclass
class Seen:
    """What happened on the GPU."""

    waits: list[Wait] = field(default_factory=list)
    launches: list[Launch] = field(default_factory=list)
    operations: int = 0

    def inside(self, *, of: str, but: tuple[str, ...] = ()) -> list[Wait]:
        """Waits inside a function of cseg, without those inside some others."""
        return [w for w in self.waits if of in w.where and not set(but) & set(w.where)]


def _where() -> tuple[str, ...]:
    frame: FrameType | None = sys._getframe(2)
    names = []
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(PACKAGE):
            name = COPY.sub(r"\1", frame.f_code.co_name)
            names.append(f"{Path(path).stem}.{name}")
        frame = frame.f_back
    return tuple(names)


def _on_gpu(tensor: Tensor) -> bool:
    return tensor.device.type == "cuda"


class _Mode(FakeTensorMode):
    """As it is without a GPU, whatever torch.cuda.is_available says."""

    avoid_device_init = True  # a property that would ask


class _Watch(TorchDispatchMode):
    """Sees every operation: those of the CPU run, those of the GPU are followed by torch."""

    def __init__(self, seen: Seen, pinned: set[int], fake: FakeTensorMode) -> None:
        super().__init__()
        self.seen, self.pinned, self.fake = seen, pinned, fake

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        target = kwargs.get("device")
        to_gpu = target is not None and torch.device(target).type == "cuda"
        if not to_gpu and not any(_on_gpu(tensor) for tensor in tensors):
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        if (
            func.namespace == "aten" and func._can_decompose()
        ):  # torch.inference_mode leaves composed operations whole
            with self:
                return func.decompose(*args, **kwargs)
        self.seen.operations += 1
        name = func._schema.name.split("::")[1]
        if name in WAITS and any(_on_gpu(tensor) for tensor in tensors):
            self._note(name)
        if name in INDEXED:
            self._indexed(args)
        if name == "_local_scalar_dense":
            return False if args[0].dtype == torch.bool else args[0].dtype.is_floating_point * 0.0
        if name == "_to_copy" and _on_gpu(args[0]) != to_gpu and target is not None:
            return self._copied(func, args, kwargs, to_gpu)
        if name == "copy_" and _on_gpu(args[0]) != _on_gpu(args[1]):
            self._note("copy_ between devices")
        if name == "_fused_sgd_":  # torch has no rule of shapes for it
            assert all(_on_gpu(tensor) for tensor in tensors), "fused SGD on two devices"
            return None
        return self._followed(func, args, kwargs)

    def _followed(self, func, args, kwargs):
        args, kwargs = tree_map_only(Tensor, self._as_fake, (args, kwargs))
        return func(*args, **kwargs)

    def _as_fake(self, tensor: Tensor) -> Tensor:
        return tensor if isinstance(tensor, FakeTensor) else self.fake.from_tensor(tensor)

    def _note(self, what: str) -> None:
        self.seen.waits.append(Wait(what, _where()))

    def _indexed(self, args: tuple) -> None:
        for index in args[1]:
            if index is not None and index.dtype in (torch.bool, torch.uint8):
                self._note("index by a mask")
            if index is not None and not _on_gpu(index):
                self._note("index from the host")

    def _copied(self, func, args, kwargs, to_gpu: bool) -> Tensor:
        if not to_gpu:
            self._note("copy to the host")
            shape, dtype = args[0].shape, kwargs.get("dtype") or args[0].dtype
            with unset_fake_temporarily():
                return torch.zeros(shape, dtype=dtype)
        pinned = args[0].untyped_storage().data_ptr() in self.pinned
        if not (pinned and kwargs.get("non_blocking")):
            self._note(f"copy to the GPU, {'blocking' if pinned else 'pageable'}")
        return self._followed(func, args, kwargs)


def _backward(root: Tensor, edges: dict[Any, list[int]]) -> None:
    """Do root.backward() node by node: torch's engine asks a real GPU for its streams.

    `edges` names, for a node written in Python, which of its answers belong to its edges.
    """
    waits_for: dict[Any, int] = {}
    todo, found = [root.grad_fn], set()
    while todo:
        node = todo.pop()
        if node in found:
            continue
        found.add(node)
        for after, _ in node.next_functions:
            if after is not None:
                waits_for[after] = waits_for.get(after, 0) + 1
                todo.append(after)
    grads: dict[Any, dict[int, Tensor]] = {root.grad_fn: {root.output_nr: torch.ones_like(root)}}
    ready = [root.grad_fn]
    while ready:
        node = ready.pop()
        given = grads.pop(node, {})
        answers: Any = [None] * len(node.next_functions)
        if hasattr(node, "variable"):
            leaf, grad = node.variable, given.get(0)
            if grad is not None:
                assert (grad.device, grad.shape) == (leaf.device, leaf.shape)
                leaf.grad = grad if leaf.grad is None else leaf.grad + grad
        elif given:
            values = [given.get(number) for number in range(len(node._input_metadata))]
            answers = (node if callable(node) else node.apply)(*values)
            answers = answers if isinstance(answers, (tuple, list)) else (answers,)
            if node in edges:
                answers = [answers[number] for number in edges[node]]
        for (after, number), grad in zip(node.next_functions, answers):
            if after is None:
                continue
            if grad is not None:
                slot = grads.setdefault(after, {})
                slot[number] = slot[number] + grad if number in slot else grad
        for after, _ in node.next_functions:
            if after is not None:
                waits_for[after] -= 1
                if not waits_for[after]:
                    ready.append(after)


def _apply(module: nn.Module, change, recurse: bool = True) -> nn.Module:
    """nn.Module._apply with new parameters: a real one does not become fake in place."""
    for child in module.children():
        child._apply(change)
    for name, parameter in module._parameters.items():
        if parameter is not None:
            module._parameters[name] = nn.Parameter(
                change(parameter.detach()), parameter.requires_grad
            )
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = change(buffer)
    return module


def _copied(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    """copy.deepcopy of a fake tensor, which would else copy its mode, too."""
    if id(tensor) not in memo:
        made = tensor.detach().clone()
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(made, tensor.requires_grad) if is_parameter else made
    return memo[id(tensor)]


@contextmanager
def fake_gpu() -> Iterator[Seen]:
    """Put a GPU into the machine for the block; see the module."""
    from triton.runtime.interpreter import InterpretedFunction
    from triton.runtime.jit import JITFunction

    seen, pinned, kept, edges = Seen(), set(), [], {}
    operator = pixel_contrast.pixel_contrast

    def pin(tensor: Tensor, *_: Any) -> Tensor:
        kept.append(tensor)  # so that nobody else gets its memory
        pinned.add(tensor.untyped_storage().data_ptr())
        return tensor

    def launch(kernel, *arguments: Any, grid, warmup: bool, **options: Any) -> None:
        name = kernel.fn.__name__.lstrip("_")
        pointers = [a for a in arguments if isinstance(a, Tensor)]
        for pointer in pointers:
            assert _on_gpu(pointer), f"{name}: a pointer on {pointer.device}"
            assert pointer.is_contiguous(), f"{name}: not contiguous"
        seen.launches.append(Launch(name, tuple(p.dtype for p in pointers), options))

    def loss(*arguments: Any) -> tuple[Tensor, ...]:
        """The operator, and what it hides: fake tensors are answered by its shapes alone."""
        if isinstance(arguments[0], FakeTensor):
            with torch.no_grad():
                lean.loss_and_grads(*arguments)
        answer = operator(*arguments)
        tensors = [number for number, a in enumerate(arguments) if isinstance(a, Tensor)]
        edges[answer[0].grad_fn] = tensors
        return answer

    cuda = {
        "is_available": lambda: True,
        "mem_get_info": lambda *_: (2**36, 2**36),
        "reset_peak_memory_stats": lambda *_: None,
        "max_memory_allocated": lambda *_: 0,
        "get_device_capability": lambda *_: CARD,
        "get_device_name": lambda *_: "a made-up GPU",
        "is_bf16_supported": lambda *_, **__: True,
        "is_current_stream_capturing": lambda: False,
    }
    with ExitStack() as stack:
        fake = stack.enter_context(_Mode())
        for name, answer in cuda.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, answer))
        stack.enter_context(mock.patch.object(JITFunction, "run", launch))
        stack.enter_context(mock.patch.object(InterpretedFunction, "run", launch))
        stack.enter_context(mock.patch.object(Tensor, "pin_memory", pin))
        stack.enter_context(
            mock.patch.object(Tensor, "backward", lambda root: _backward_without_graph(root, edges))
        )
        stack.enter_context(mock.patch.object(FakeTensor, "__deepcopy__", _copied, create=True))
        stack.enter_context(mock.patch.object(nn.Module, "_apply", _apply))
        stack.enter_context(mock.patch.object(pixel_contrast, "pixel_contrast", loss))
        stack.enter_context(_Watch(seen, pinned, fake))
        yield seen


def _backward_without_graph(root: Tensor, edges: dict[Any, list[int]]) -> None:
    with torch.no_grad():
        _backward(root, edges)
