"""What SCNP costs on a GPU: ``make gpu-day``'s last stage, or ``make bench DEVICE=cuda`` alone.

The way through this folder:

    rows.py            one line of JSON for each case, written when it is known
    device.py          the GPU, or what stands for it in a rehearsal: events, memory, stand-ins
    cases.py           which shapes, dtypes, windows and layouts, the most telling first
    inputs.py          logits, labels and masks of a case
    measure.py         time and memory of one implementation on one case
    program.py         a list of jobs, one after the other, within a time limit
    penalization.py    scnp alone, against the listing, shifted comparisons and a copy
    losses.py          the fused loss, against Dice + cross entropy
    training_step.py   what SCNP adds to one training step of a U-Net
    counters.py        ncu's counters beside the predictions of ``make gpu-check``
    warm.py            compiles beforehand what the others will compile
    tables.py          rows as tables, and the goals

Importing this package imports nothing of torch.
"""
