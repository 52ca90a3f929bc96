"""Pictures and tables of networks: `plot_network` (a Graphviz graph) and `print_summary`."""

from __future__ import annotations

from minidnn.viz.plot import plot_network
from minidnn.viz.summary import print_summary

__all__ = ["plot_network", "print_summary"]
