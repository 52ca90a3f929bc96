"""The graph: its nodes, tracing, inference, printing, JSON. Pure: it stands on `minidnn.ops` alone."""
