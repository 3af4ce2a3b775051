"""From a few reviewed cases to a model that knows their structure: decoder weights on cached features."""
