"""The side of the server: fork and join inside the unmodified SGLang."""
