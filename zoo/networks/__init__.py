"""The networks beside the denoisers: autoencoders, text encoders, vision transformers, Inception."""
