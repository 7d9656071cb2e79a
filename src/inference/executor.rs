//! Threads of its own.
