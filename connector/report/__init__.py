"""What happened and why: the status of the service, the explanation of a person, the persons of a plan."""
