//! What the fuzz targets reach of the log's form: each function panics if a claim does not hold.

use types::Wire;
use types::fuzzing::one_form;

use super::description::{Description, Layout};
use super::sector::{self, Sector};

/// A batch's description has one form, and its first bytes announce it truly.
///
/// # Panics
/// As said.
pub fn description(data: &[u8]) {
    let peeked = Layout::peek(data);
    if let Some(description) = one_form::<Description>(data) {
        let (len, layout) = peeked.expect("a description begins with its lengths");
        assert_eq!(len as usize, description.to_bytes().len());
        assert_eq!(layout, super::batch::layout(data, &description));
    }
}

/// A sector is valid only as it was sealed. The first byte of `data` says whether to seal the rest first.
///
/// # Panics
/// As said.
pub fn sector(data: &[u8]) {
    let Some((mode, bytes)) = data.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if mode & 1 == 1 {
        bytes.resize(sector::SECTOR_LEN, 0);
        sector::renew_checksum(2, 9, &mut bytes);
    }
    let Sector::Valid(label, content) = sector::open(2, 9, &bytes) else { return };
    let mut again = Vec::new();
    sector::seal(2, 9, label, content, &mut again);
    assert_eq!(again, bytes, "another form of {label:?}");
    assert_eq!(sector::open(2, 8, &bytes), Sector::Bad);
}
