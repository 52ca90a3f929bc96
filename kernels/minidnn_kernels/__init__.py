"""SIMD kernels on raw memory, generated through llvmlite and Numba."""
