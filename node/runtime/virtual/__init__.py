"""The driver of nodes on virtual time: whole machines, their disks and the network between them, on one event heap."""
