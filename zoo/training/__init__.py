"""How the bundled models were made: the procedural data set, one recipe a model, one trainer."""
