"""The network: preparation, log-probabilities, adapters, optimisers."""
