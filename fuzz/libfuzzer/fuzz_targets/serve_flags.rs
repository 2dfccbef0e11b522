#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::serve_flags(data));
