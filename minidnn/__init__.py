"""minidnn: fast CPU inference from plain Python, with the names of MXNet 2.

```python
import minidnn as mx
from minidnn.gluon import nn
```
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from minidnn.process_safe import forget_modules

# Most programs use none of these. The table is of names, and of what they stand for.
_DEFERRED = {
    "amp": "minidnn.amp",
    "contrib": "minidnn.contrib",
    "image": "minidnn.image",
    "onnx": "minidnn.onnx",
    "profiler": "minidnn.profiler",
    "pytorch": "minidnn.pytorch",
    "recordio": "minidnn.recordio",
    "visualization": "minidnn.viz",
    "viz": "minidnn.viz",
}
# What `minidnn.interop` offers, by whom it stands on and by whom stands on it.
_READERS = {
    "load_torch": "minidnn.interop.torch_weights:load_torch",
    "load_weights": "minidnn.interop.weights:load_weights",
    "read_torch_checkpoint": "minidnn.interop.torch_checkpoint:read_torch_checkpoint",
    "from_torch": "minidnn.pytorch:from_torch",
    "register_torch_backend": "minidnn.pytorch:register_torch_backend",
    "torch_backend": "minidnn.pytorch:torch_backend",
}

if TYPE_CHECKING:
    from minidnn import amp, contrib, image, onnx, profiler, pytorch, recordio, viz
    from minidnn import viz as visualization

    __version__: str

try:
    from minidnn import (
        attribute,
        autograd,
        device,
        errors,
        gluon,
        initializer,
        interop,
        npx,
        numpy,
        random,
        runtime,
        symbol,
        util,
    )
    from minidnn import device as context
    from minidnn import initializer as init
    from minidnn import numpy as np
    from minidnn import symbol as sym
    from minidnn.attribute import AttrScope
    from minidnn.deferred import defer
    from minidnn.device import Context, Device, cpu, cpu_pinned, current_context, current_device, gpu, num_gpus
    from minidnn.engine import get_num_threads, set_num_threads
    from minidnn.errors import MXNetError
    from minidnn.formats import version
    from minidnn.util import (
        is_np_array,
        is_np_default_dtype,
        is_np_shape,
        np_array,
        np_default_dtype,
        np_shape,
        reset_np,
        set_np,
        set_np_shape,
        use_np,
        use_np_array,
        use_np_default_dtype,
        use_np_shape,
    )

    defer(interop.__name__, _READERS)
    # Not looked up at once: reading the metadata of an installation takes longer than all the rest.
    defer(__name__, {**_DEFERRED, "__version__": version})
except BaseException:
    forget_modules(__name__)
    raise

__all__ = [
    "AttrScope",
    "Context",
    "Device",
    "MXNetError",
    "__version__",
    "amp",
    "attribute",
    "autograd",
    "context",
    "contrib",
    "cpu",
    "cpu_pinned",
    "current_context",
    "current_device",
    "device",
    "errors",
    "get_num_threads",
    "gluon",
    "gpu",
    "image",
    "init",
    "initializer",
    "interop",
    "is_np_array",
    "is_np_default_dtype",
    "is_np_shape",
    "np",
    "np_array",
    "np_default_dtype",
    "np_shape",
    "npx",
    "num_gpus",
    "numpy",
    "onnx",
    "profiler",
    "pytorch",
    "random",
    "recordio",
    "reset_np",
    "runtime",
    "set_np",
    "set_np_shape",
    "set_num_threads",
    "sym",
    "symbol",
    "use_np",
    "use_np_array",
    "use_np_default_dtype",
    "use_np_shape",
    "util",
    "visualization",
    "viz",
]


# Without a handler, Python itself would show warnings on standard error.
logging.getLogger("minidnn").addHandler(logging.NullHandler())
