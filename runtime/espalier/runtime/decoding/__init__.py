"""What both engines share: a branch, a response, and a response as its client sees it grow."""
