"""What is built, installed and published: wheels, toolkits, headers, versions."""
