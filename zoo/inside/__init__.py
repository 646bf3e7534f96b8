"""What a network does while it runs: attention, modulation, tokens, the record of one pass, and figures about them."""
