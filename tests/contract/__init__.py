"""The operator against the oracle: values, winners and derivatives, of all that it takes."""
