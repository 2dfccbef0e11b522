//! Values numbered in the order in which they were first seen, found again by their fingerprint.

use std::hash::{Hash, Hasher};

use types::Fingerprinter;

/// Which number belongs to which fingerprint: open addressing with linear probing. Fingerprints are spread evenly, and
/// two different values with the same one are as good as impossible.
#[derive(Debug)]
pub(super) struct Index {
    /// 0 is an empty place.
    prints: Vec<u128>,
    numbers: Vec<u32>,
    len: usize,
}

/// The index of values and the values themselves.
#[derive(Debug)]
pub(super) struct Table<V> {
    index: Index,
    values: Vec<V>,
}

impl Index {
    pub(super) fn new() -> Index {
        Index { prints: vec![0; 1 << 10], numbers: vec![0; 1 << 10], len: 0 }
    }

    pub(super) fn get(&self, print: u128) -> Option<u32> {
        let place = self.place(print.max(1));
        (self.prints[place] != 0).then(|| self.numbers[place])
    }

    /// Gives `print` a number unless it has one. Returns whether it is new.
    pub(super) fn insert(&mut self, print: u128, number: u32) -> bool {
        let print = print.max(1);
        if self.len * 4 >= self.prints.len() * 3 {
            self.grow();
        }
        let place = self.place(print);
        if self.prints[place] != 0 {
            return false;
        }
        self.prints[place] = print;
        self.numbers[place] = number;
        self.len += 1;
        true
    }

    /// Where `print` stands or would stand.
    fn place(&self, print: u128) -> usize {
        let mask = self.prints.len() - 1;
        let mut place = print as usize & mask;
        while self.prints[place] != 0 && self.prints[place] != print {
            place = (place + 1) & mask;
        }
        place
    }

    fn grow(&mut self) {
        let size = self.prints.len() * 2;
        let prints = std::mem::replace(&mut self.prints, vec![0; size]);
        let numbers = std::mem::replace(&mut self.numbers, vec![0; size]);
        for (print, number) in prints.into_iter().zip(numbers).filter(|(print, _)| *print != 0) {
            let place = self.place(print);
            self.prints[place] = print;
            self.numbers[place] = number;
        }
    }
}

impl<V> Table<V> {
    pub(super) fn new() -> Table<V> {
        Table { index: Index::new(), values: Vec::new() }
    }

    pub(super) fn len(&self) -> u64 {
        self.values.len() as u64
    }

    /// The number of the value with this fingerprint.
    pub(super) fn find(&self, print: u128) -> Option<u32> {
        self.index.get(print)
    }

    /// The number of the value with this fingerprint; `value` is called if it has none yet.
    pub(super) fn intern(&mut self, print: u128, value: impl FnOnce() -> V) -> u32 {
        if let Some(number) = self.index.get(print) {
            return number;
        }
        let number = u32::try_from(self.values.len()).expect("memory ends before 2^32 values");
        self.index.insert(print, number);
        self.values.push(value());
        number
    }

    pub(super) fn get(&self, number: u32) -> &V {
        &self.values[number as usize]
    }
}

/// The fingerprint of a value.
pub(super) fn print(value: &(impl Hash + ?Sized)) -> u128 {
    let mut fingerprinter = Fingerprinter::default();
    value.hash(&mut fingerprinter);
    fingerprinter.finish128()
}

/// The fingerprint of an encoded value.
pub(super) fn print_bytes(bytes: &[u8]) -> u128 {
    let mut fingerprinter = Fingerprinter::default();
    fingerprinter.write(bytes);
    fingerprinter.finish128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_numbers_while_the_table_grows() {
        let mut table = Table::new();
        for value in 0..10_000u32 {
            assert_eq!(table.intern(print(&value), || value), value);
        }
        for value in 0..10_000u32 {
            assert_eq!(table.find(print(&value)), Some(value));
            let again = table.intern(print(&value), || panic!("is known"));
            assert_eq!(*table.get(again), value);
        }
        assert_eq!((table.len(), table.find(print(&10_000u32))), (10_000, None));
    }
}
