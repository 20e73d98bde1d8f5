"""``make gpu-day``: everything that a GPU has to say about the kernels, in one run of minutes.

Each stage is a few programs under a time limit, which write rows as they go; the report is put
together from whatever rows there are, again and again. The way through this folder:

    __main__.py      the run: options, stages one after the other, signals
    stages.py        the table: which programs, how long, what is chosen for a short run
    processes.py     a program under a time limit: started, followed, ended with all its children
    report.py        rows as one page of Markdown, the most telling first
    pytest_rows.py   pytest's part of it: a row for each test, and what ends a worker
    machine.py       a program: what is here, and whether every backend runs that should
    faults.py        what a rehearsal plants: an illegal access, a wrong bit, a kernel that hangs
    dry_count.py     what a run will compile, and how long it should take

The tests themselves are in tests/gpu/suite/, the measurements in benchmarks/gpu/. The run and the
report import nothing but Python's own library: they live on whatever breaks below them.
"""
