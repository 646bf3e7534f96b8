"""Who asks, who waits, what is resident and what is kept: the Hub and its parts."""
