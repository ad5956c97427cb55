"""The sweep: what payloads of every size cost, on this machine, with this package and with what else there is.

`mcpgateway-rust sweep` runs it; `mcpgateway-rust calibrate` finds the thresholds of a `TransferPolicy` by the same
means. What it takes beyond the package itself is in the extra `bench`: `pip install mcpgateway_rust[bench]`.

The parts, in the order in which a measurement goes through them:

    sizes       the table of sizes, shared with `cargo bench`
    cells       one thing to measure, and what came out
    plans       which cells a sweep has
    bodies      the bytes that are sent, by shape and by exporter
    backends    the HTTP clients, each behind the same verbs
    processes   the server, and a fresh process for each cell
    exchanges   what happens in that process
    instruments memory, processor time, page faults, the event loop's delay
    machine     what the figures were measured on
    running     the cells in turn: progress, interruption, resuming
    results     the file of samples
    intervals   medians, intervals, and when a difference is one
    tables, comparison, page, pictures   what people look at
    calibration copy, borrow and map on this machine
"""
