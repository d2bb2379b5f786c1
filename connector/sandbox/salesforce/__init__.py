"""A Salesforce-compatible REST API over the sandbox's database."""
