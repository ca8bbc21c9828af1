"""The three stages of the curriculum (arXiv 2512.07461): zero finds the format, beta learns it, papo reasons in it."""
