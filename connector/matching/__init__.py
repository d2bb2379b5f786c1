"""The tools of identity: star of records and values, components, guards, ordered merge, anchors, evidence."""
