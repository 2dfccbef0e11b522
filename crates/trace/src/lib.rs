//! The event schema that tests print, the simulator records and tools draw.
