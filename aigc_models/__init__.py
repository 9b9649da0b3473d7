"""Generative models on torch: model families, training, decoding, metrics and checkpoints.

Knows nothing about Ray, Prefect, S3 or Parquet: it runs on a machine that has only torch and its
companions.
"""
