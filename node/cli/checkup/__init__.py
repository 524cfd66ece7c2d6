"""What `doctor` looks at: each module judges one side of a node, from what is read here or its daemon tells."""
