"""Collections of many small graphs: their manifest, their files, and batches cut from them."""
