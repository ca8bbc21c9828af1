"""What is trained on: data sets, examples, packing, streams."""
