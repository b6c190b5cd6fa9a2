"""What other projects' programs need to work with the tasks; each imports its project itself."""
