"""A fake of the package: only what `espalier engine serve` starts."""
