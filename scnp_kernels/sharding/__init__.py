"""DTensors: to local tensors and back, and what shards borrow across a cut."""
