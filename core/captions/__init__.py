"""Descriptions of motion: a sentence, what can be measured, and words to find it by."""
