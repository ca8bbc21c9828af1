"""One solve with its limits, metrics and trace, under the service and the queue alike."""
