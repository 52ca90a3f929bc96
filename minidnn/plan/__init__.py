"""The plan: steps, buffers and kernels by name.

Plain data, below both the lowering that makes it and the runtime that runs it.
"""
