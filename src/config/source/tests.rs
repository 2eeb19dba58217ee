//! Layers, spellings and names.
