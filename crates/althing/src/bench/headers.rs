//! Request headers, compressed (HPACK, RFC 7541): named in full once a connection, then one byte each, as gRPC
//! libraries send them.

use std::collections::HashMap;

/// The first index of the dynamic table, after the static one.
const DYNAMIC_FIRST: usize = 62;
/// Static table: `:method: POST` and `:scheme: http`, indexed whole; the names `:authority`, `:path`,
/// `content-type` and `user-agent`.
const METHOD_POST: u8 = 0x80 | 3;
const SCHEME_HTTP: u8 = 0x80 | 6;
const AUTHORITY: u8 = 1;
const PATH: u8 = 4;
const CONTENT_TYPE: u8 = 31;
const USER_AGENT: u8 = 58;
/// "Literal with incremental indexing": the receiver remembers it.
const REMEMBER: u8 = 0x40;

/// Encodes the headers of one connection's calls.
pub struct Headers {
    authority: String,
    /// What the server remembers, oldest first.
    remembered: Vec<String>,
    /// Blocks in which everything is remembered, by path.
    short: HashMap<&'static str, Vec<u8>>,
    long: Vec<u8>,
}

impl Headers {
    /// For calls to this authority.
    pub fn new(authority: &str) -> Headers {
        let authority = authority.to_owned();
        Headers { authority, remembered: Vec::new(), short: HashMap::new(), long: Vec::new() }
    }

    /// The header block of a call of `path`.
    pub fn block(&mut self, path: &'static str) -> &[u8] {
        // `contains_key`, because the borrow checker keeps a borrow that is returned on one branch only.
        if self.short.contains_key(path) {
            return &self.short[path];
        }
        let remembered = self.remembered.len();
        let block = self.encode(path);
        if self.remembered.len() == remembered {
            return self.short.entry(path).or_insert(block);
        }
        // What was just added has moved the indices of everything before it.
        self.short.clear();
        self.long = block;
        &self.long
    }

    fn encode(&mut self, path: &'static str) -> Vec<u8> {
        let mut block = vec![METHOD_POST, SCHEME_HTTP];
        let authority = self.authority.clone();
        for (index, name, value) in [
            (Some(AUTHORITY), ":authority", authority.as_str()),
            (Some(PATH), ":path", path),
            (Some(CONTENT_TYPE), "content-type", "application/grpc"),
            (Some(USER_AGENT), "user-agent", "althing-bench"),
            (None, "te", "trailers"),
        ] {
            self.field(&mut block, index, name, value);
        }
        block
    }

    fn field(&mut self, block: &mut Vec<u8>, name_index: Option<u8>, name: &str, value: &str) {
        let key = format!("{name}: {value}");
        if let Some(position) = self.remembered.iter().position(|known| *known == key) {
            let index = DYNAMIC_FIRST + self.remembered.len() - 1 - position;
            block.push(0x80 | index as u8);
            return;
        }
        match name_index {
            Some(index) => block.push(REMEMBER | index),
            None => {
                block.push(REMEMBER);
                string(block, name);
            }
        }
        string(block, value);
        self.remembered.push(key);
    }
}

/// A string without Huffman coding. All of ours are shorter than 127 bytes, which one length byte can say.
fn string(block: &mut Vec<u8>, text: &str) {
    let text = &text.as_bytes()[..text.len().min(126)];
    block.push(text.len() as u8);
    block.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_named_in_full_once() {
        let mut headers = Headers::new("h:1");
        let first = headers.block("/a").to_vec();
        let second = headers.block("/a").to_vec();
        assert!(first.len() > 40);
        // authority, path, content-type, user-agent, te: the newest has the lowest index.
        assert_eq!(second, [0x83, 0x86, 0x80 | 66, 0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62]);
    }

    #[test]
    fn another_path_moves_the_indices_of_the_rest() {
        let mut headers = Headers::new("h:1");
        headers.block("/a");
        headers.block("/b");
        assert_eq!(headers.block("/a"), [0x83, 0x86, 0x80 | 67, 0x80 | 66, 0x80 | 65, 0x80 | 64, 0x80 | 63]);
        assert_eq!(headers.block("/b"), [0x83, 0x86, 0x80 | 67, 0x80 | 62, 0x80 | 65, 0x80 | 64, 0x80 | 63]);
    }
}
