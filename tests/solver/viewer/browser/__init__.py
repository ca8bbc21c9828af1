"""The pages in Chromium. `make ui-test` runs these; other runs leave them out, because they need Node and a browser."""
