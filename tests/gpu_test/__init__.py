"""``make gpu-test``: the contract on a GPU, bit for bit, with a report to paste into an issue."""
