"""How clients talk to a node: HTTP in front of the same deciding Node."""
