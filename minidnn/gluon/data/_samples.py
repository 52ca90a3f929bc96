"""One batch from a data set: what every kind of worker does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["make_batch"]


def make_batch(dataset: Any, batchify: Callable[[list[Any]], Any], indices: Sequence[Any]) -> Any:
    """Read the samples and batch them. An exception gets a note that says which sample, or which batch, it is about."""
    samples = []
    for index in indices:
        try:
            samples.append(dataset[index])
        except StopIteration as error:
            # Let through, it would end the caller's loop, or say no more than that a generator raised it.
            raise RuntimeError(f"sample {index} of the data set raised StopIteration") from error
        except Exception as error:
            error.add_note(f"(while sample {index} of the data set was read)")
            raise
    try:
        return batchify(samples)
    except Exception as error:
        error.add_note(f"(while a batch was made of the samples {brief(indices)})")
        raise


def brief(indices: Sequence[Any]) -> str:
    """The first few of them."""
    return ", ".join(map(str, indices[:6])) + (", ..." if len(indices) > 6 else "")
