"""Measurements that stand behind the claims: each script prints a table, writes JSON, and is run small by a test."""
