"""Reports as one HTML file each, with drawings in the page itself."""
