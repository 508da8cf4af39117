"""The night's steps: storage and Spark in, Delta tables and dated directories out."""
