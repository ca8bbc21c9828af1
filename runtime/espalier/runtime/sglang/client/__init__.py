"""The side of the caller: SGLang servers as an engine."""
