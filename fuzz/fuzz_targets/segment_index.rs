#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| netabase_fuzz::segment_index(bytes));
