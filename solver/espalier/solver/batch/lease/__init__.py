"""Who works on which job, and until when."""
