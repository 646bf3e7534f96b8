"""What models there are, and how their files get here and are trusted: cards, labels, sources, downloads, checkpoints."""
