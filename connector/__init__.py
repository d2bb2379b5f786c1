"""One customer out of the traces left in many systems; how good and how ready that customer is; the answer back in the CRM."""

__version__ = "0.1.0"
