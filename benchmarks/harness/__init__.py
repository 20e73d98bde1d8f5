"""Measures subjects on cases by a clock, in turns: the kernels, the losses and the GPU alike.

    case.py        a shape, a dtype, a window and what else may be asked
    subject.py     what is measured on it: a pass forward, its pass backward, inputs in rotation
    clocks.py      the processor's clock, and CUDA events
    worker.py      one subject, which prepares cases and takes samples
    processes.py   an object in this process, or in one of its own, of any interpreter
    turns.py       checks all, then takes samples of all in turns, round by round
    memory.py      what is kept for the backward pass, and the peak

Needs nothing but torch.
"""
