"""From reviewed masks to a network that segments their structure without prompts, as a mask to begin from."""
