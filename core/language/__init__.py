"""Words and sentences beyond the captions: a small bundled sentence encoder, and what a model was trained on."""
