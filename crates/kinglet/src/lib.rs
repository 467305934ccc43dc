//! Kinglet as a library.
