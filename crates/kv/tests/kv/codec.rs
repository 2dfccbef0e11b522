//! The binary form of commands: one form each, and nothing else is read.

use bytes::Bytes;
use kv::*;
use types::{Wire, WireError};

use crate::generate::Generator;
use crate::harness::*;

#[test]
fn every_command_reads_back() {
    let mut generator = Generator::new(1);
    for _ in 0..5_000 {
        let command = generator.command(20);
        assert_eq!(Command::from_bytes(command.to_bytes()), Ok(command));
    }
}

#[test]
fn every_truncation_and_extension_is_an_error() {
    let mut generator = Generator::new(2);
    for _ in 0..300 {
        let good = generator.command(20).to_bytes();
        for len in 0..good.len() {
            assert!(Command::from_bytes(good.slice(..len)).is_err());
        }
        let longer = [&good[..], &[0]].concat();
        assert_eq!(Command::from_bytes(Bytes::from(longer)), Err(WireError::Trailing { left: 1 }));
    }
}

/// Whatever can be read is exactly what `encode` writes: no two byte strings are the same command.
#[test]
fn damaged_bytes_are_an_error_or_another_commands_only_form() {
    let mut generator = Generator::new(3);
    let mut readable = 0;
    for _ in 0..30_000 {
        let mut bytes = generator.command(20).to_bytes().to_vec();
        for _ in 0..=generator.rng.below(3) {
            let at = generator.rng.below(bytes.len() as u64) as usize;
            bytes[at] = generator.rng.next_u64() as u8;
        }
        let bytes = Bytes::from(bytes);
        if let Ok(command) = Command::from_bytes(bytes.clone()) {
            assert_eq!(command.to_bytes(), bytes);
            readable += 1;
        }
    }
    assert!(readable > 1000, "only {readable} damaged commands could be read: the test is empty");
}

#[test]
fn a_put_costs_four_bytes_besides_its_key_and_value() {
    let command = Command::Put(put("key", "value"));
    assert_eq!(command.to_bytes().len(), 4 + 3 + 5);
}

#[test]
fn hostile_counts_and_nesting_are_refused_before_they_cost_anything() {
    let huge_list = Bytes::from_static(&[3, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert!(matches!(Command::from_bytes(huge_list), Err(WireError::Truncated { .. })));
    let deep: Vec<u8> = [3, 0, 1].repeat(1_000_000);
    assert!(matches!(Command::from_bytes(Bytes::from(deep)), Err(WireError::Range { .. })));
}
