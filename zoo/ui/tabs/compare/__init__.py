"""The Compare tab: side by side, the X/Y grid, and blind votes."""
