"""Run as a program: an exported network on an array, by the kernels of the ISA that ``MINIDNN_ISA`` names.

``python run_exported.py PREFIX IN.npy OUT.npy``
"""

from __future__ import annotations

import sys

import numpy as np

import minidnn as mx
from minidnn.gluon import SymbolBlock

if __name__ == "__main__":
    prefix, source, target = sys.argv[1:]
    net = SymbolBlock.imports(f"{prefix}-symbol.json", ["data"], f"{prefix}-0000.params")
    np.save(target, net(mx.np.array(np.load(source))).asnumpy())
