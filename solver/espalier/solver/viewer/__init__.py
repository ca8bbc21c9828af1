"""Solves as pictures, the queue and training runs as pages. The pages themselves are made from `web/`."""
