//! From records to figures.
