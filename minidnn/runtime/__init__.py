"""What runs: programs (tables of native steps), the driver that walks them, threads, the code cache."""
