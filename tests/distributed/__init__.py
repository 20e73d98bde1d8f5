"""On several processes: gloo, two and four of them."""
