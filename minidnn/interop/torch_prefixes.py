"""What wrappers of PyTorch put in front of the names in a state dict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from minidnn.errors import DataError

__all__ = ["strip_wrappers"]

# torch.compile, and in front of a part of the network only.
_COMPILED = "_orig_mod"
# DataParallel, DistributedDataParallel and FSDP; Lightning, timm and training scripts.
_WRAPPERS = frozenset(
    {"_forward_module", "_fsdp_wrapped_module", "_orig_mod", "backbone", "ema", "ema_model", "model", "module", "net",
     "network", "state_dict"}
)  # fmt: skip


def strip_wrappers(names: Iterable[str], wanted: Collection[str]) -> dict[str, str]:
    """The names without the prefix behind which most of the wanted ones are.

    Args:
        names: of the tensors in a file.
        wanted: names that the network knows.

    Returns:
        Name in the file -> name without wrappers; names that lack the prefix keep theirs.

    Raises:
        DataError: the wanted names are equally many behind several prefixes.
    """
    plain = _without_compiled([*names])
    hits: Counter[str] = Counter()
    for name in plain.values():
        hits.update(prefix for prefix in _wrapping(name) if name[len(prefix) :] in wanted)
    most = max(hits.values(), default=0)
    best = [prefix for prefix, count in hits.items() if count == most]
    if not best or "" in best:
        return plain
    if len(best) > 1:
        listed = ", ".join(repr(prefix) for prefix in sorted(best))
        raise DataError(f"{most} tensors each have the network's names behind the prefixes {listed}: keep those of one")
    return {name: short.removeprefix(best[0]) for name, short in plain.items()}


def _without_compiled(names: list[str]) -> dict[str, str]:
    plain = {name: ".".join(part for part in name.split(".") if part != _COMPILED) for name in names}
    return plain if len({*plain.values()}) == len(names) else {name: name for name in names}


def _wrapping(name: str) -> Iterable[str]:
    """The prefixes of a name that only wrappers make, the empty one first."""
    prefix = ""
    yield prefix
    for part in name.split("."):
        if part not in _WRAPPERS:
            return
        prefix += f"{part}."
        yield prefix
