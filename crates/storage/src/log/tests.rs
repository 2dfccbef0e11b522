//! Claims about the log, on a simulated disk.

mod basics;
