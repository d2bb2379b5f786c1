"""What we know about customers: records, activities, persons, scores, stages, observed and desired values."""

from connector.mart import memory as memory  # before the engine's allocator begins
from connector.mart.engine import Mart, MartSection, open_mart

__all__ = ["Mart", "MartSection", "open_mart"]
