"""Pure arithmetic of taxonomies, label maps, decisions and scores: numpy and the standard library only."""
