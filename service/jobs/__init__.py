"""Batch jobs: many or all nodes, worked on in the background, answered as files.

job (what is asked and how far it is) → lifecycle (who may change it, and how) → store (SQLite or
Redis) → queue → runner (one process, one job at a time) → work (rows, then parts) → results.
"""
