"""The steps of a run, one file each, in the order of the sentence: pull, map, resolve, score, stage, plan, deliver.

Mapping happens where pages arrive, so pull and map share a file.
"""
