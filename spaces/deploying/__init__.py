"""What `python spaces/deploy.py` is made of: the places, the tree that goes there, and how each place is asked."""
