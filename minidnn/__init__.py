"""minidnn: fast CPU inference from plain Python, with the names of MXNet 2.

```python
import minidnn as mx
from minidnn.gluon import nn
```
"""

from __future__ import annotations

import logging
import sys
from typing import Any

try:
    from minidnn import (
        amp,
        attribute,
        autograd,
        contrib,
        device,
        errors,
        gluon,
        image,
        initializer,
        interop,
        npx,
        numpy,
        onnx,
        profiler,
        pytorch,
        random,
        recordio,
        runtime,
        symbol,
        util,
        viz,
    )
    from minidnn import device as context
    from minidnn import initializer as init
    from minidnn import numpy as np
    from minidnn import symbol as sym
    from minidnn import viz as visualization
    from minidnn.attribute import AttrScope
    from minidnn.device import Context, Device, cpu, cpu_pinned, current_context, current_device, gpu, num_gpus
    from minidnn.engine import get_num_threads, set_num_threads
    from minidnn.errors import MXNetError
    from minidnn.missing import raising
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

    interop.from_torch = pytorch.from_torch
    interop.register_torch_backend = pytorch.register_torch_backend
    interop.torch_backend = pytorch.torch_backend
except BaseException:
    # Where Ctrl-C or an error ends the import, the next one begins from nothing: modules that stay would hold
    # registries which those that are run again fill for the second time.
    for _name in [name for name in sys.modules if name.startswith("minidnn.")]:
        del sys.modules[_name]
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


def __getattr__(name: str) -> Any:
    # Looked up when asked for: reading the metadata of an installation takes longer than all the rest.
    if name == "__version__":
        from minidnn.formats import version  # deferred: nobody has asked before

        return version()
    return raising(__name__)(name)
