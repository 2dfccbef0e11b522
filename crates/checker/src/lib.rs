//! Judges a finished history: linearizable? durable? did every replica agree?
