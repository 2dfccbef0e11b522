//! The binary form of commands, as they stand in the log.

use types::{Reader, Wire, WireError};

use crate::Command;

#[allow(unused_variables, clippy::todo)]
impl Wire for Command {
    fn encode(&self, out: &mut Vec<u8>) {
        todo!()
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        todo!()
    }
}
