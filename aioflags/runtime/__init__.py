"""Tools that do not know what a flag is: clocks, logs, locks, broadcast, cooperative slices."""
