"""What operators decide about hosts, authors and tags: how it is named, listed, taken over from others, and limited by the hour."""
