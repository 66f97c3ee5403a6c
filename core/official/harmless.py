"""Which Python names a checkpoint may mention: those of tensors, of plain types, and of the packages that training
leaves traces of. None is ever imported; the list is there because any other name in a checkpoint is a sign of malice.
"""

from __future__ import annotations

import re


class UnsafePickle(Exception):
    """The pickle asks for something that is not data; `name` says what."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PACKAGES = words(
    "antlr4 argparse collections datetime decimal easydict enum fractions lightning lightning_fabric "
    "lightning_utilities mGPT motGPT numpy omegaconf pathlib pytorch_lightning tokenizers torch torchmetrics "
    "transformers typing uuid yacs"
)
"""Of these any class is harmless as a note that there was one; of their functions only those below."""
_CLASS = re.compile(r"_?[A-Z]\w*(\._?[A-Z]\w*)*")
_MODULE = re.compile(r"_?[A-Za-z0-9]\w*(\._?[A-Za-z0-9]\w*)*")  # no __globals__ or the like on the way

_TYPES = words(
    "bool bytearray bytes complex dict float frozenset int list object range set slice str tuple "
    "long unicode xrange"  # how protocol 2 names int, str and range
)
_FUNCTIONS = words(
    "_codecs.encode builtins.type collections.defaultdict collections.deque copyreg.__newobj__ "
    "copyreg._reconstructor datetime.date datetime.datetime datetime.time datetime.timedelta datetime.timezone "
    "functools.partial numpy.core.multiarray._reconstruct numpy.core.multiarray.scalar "
    "numpy.core.numeric._frombuffer numpy._core.multiarray._reconstruct numpy._core.multiarray.scalar "
    "numpy._core.numeric._frombuffer numpy.dtype numpy.ndarray operator.getitem torch.device "
    "torch.serialization._get_layout torch._utils._rebuild_parameter torch._utils._rebuild_parameter_with_state "
    "torch._utils._rebuild_tensor torch._utils._rebuild_tensor_v2 torch._utils._rebuild_tensor_v3 "
    "torch._tensor._rebuild_from_type_v2"
)
_SCALARS = re.compile(r"(torch|numpy)\.(bool_?|b?float\d*\w*|u?int\d*|complex\d*|double|half|long|short|str_|bytes_)")
_OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}


def check_name(module: str, name: str) -> str:
    """The full name where it is harmless. Raises UnsafePickle."""
    module = _OLD_MODULES.get(module, module)
    full = f"{module}.{name}"
    if full in _FUNCTIONS or _SCALARS.fullmatch(full) or (module == "builtins" and name in _TYPES):
        return full
    if module.partition(".")[0] in _PACKAGES and _MODULE.fullmatch(module) and _CLASS.fullmatch(name):
        return full
    raise UnsafePickle(full)
