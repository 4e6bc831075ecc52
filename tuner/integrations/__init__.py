"""Training loops of other libraries that report, are saved, go on and stop as a trial does."""
