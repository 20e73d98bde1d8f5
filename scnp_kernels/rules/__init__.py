"""The contract in code: what arguments and targets mean, and the loss made of statistics."""
